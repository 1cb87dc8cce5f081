//! `winstead plan`: what `up` would change, and whether it fits.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use winstead_engine::{
    Engine, Step,
    plan::{Action, Change, Plan},
};
use winstead_guest::specialise::tasks;
use winstead_spec::{API_VERSION, Documents, GuestOs, Start};

use crate::{
    context::Context,
    error::CliError,
    files::{self, FileArgs},
    output::{self, Columns, counted},
    ui::Ui,
};

/// The exit code of `--exit-code` when something would change.
const CHANGES: u8 = 10;

const EXAMPLES: &str = "\
Examples:
  winstead plan -f agents.yaml
  winstead plan -f agents.yaml --steps      with every step of every change
  winstead plan -f pools/ --exit-code       0: nothing to do, 10: changes, 3: it does not fit

The sum counts everything that may ever be used: the RAM of all guests, QEMU itself, the caps of
all disks in RAM, one copy of each image, and the host's reserves. What does not fit is not started.
Where the Host says `overcommit`, machines that run count as what was measured of them.";

/// Shows what `up` would change, and whether it fits into this computer.
///
/// Changes nothing. A plan that does not fit is shown with its sum and ends with exit code 3.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Ends with exit code 10 when there are changes, and 0 when there are none.
    #[arg(long)]
    exit_code: bool,
    /// Shows the steps of each kind of change.
    #[arg(long)]
    steps: bool,
}

/// A plan as scripts read it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanView<'a> {
    api_version: &'static str,
    kind: &'static str,
    admitted: bool,
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Steps>,
}

/// The steps of one kind of change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Steps {
    action: Action,
    steps: Vec<String>,
}

/// Runs `plan`.
///
/// # Errors
/// When a file is wrong, or the plan does not fit.
pub(crate) async fn run(context: &Context, args: &PlanArgs) -> Result<ExitCode, CliError> {
    let documents = args.files.documents("plan", &context.stop).await?;
    if let Some(remark) = files::remark(&documents) {
        context.ui.warn(&remark);
    }
    let engine = context.engine().await?;
    let plan = engine.plan(&documents).await?;
    let steps = if args.steps { steps(&engine, &documents, &plan) } else { Vec::new() };
    show(context, &plan, steps)?;
    plan.admitted()?;
    let code = if args.exit_code && !plan.is_empty() { CHANGES } else { 0 };
    Ok(ExitCode::from(code))
}

/// Shows a plan; also what `up --dry-run` does.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn show(context: &Context, plan: &Plan, steps: Vec<Steps>) -> Result<(), CliError> {
    let view = PlanView { api_version: API_VERSION, kind: "Plan", admitted: plan.is_admitted(), plan, steps };
    output::show(&context.ui, context.format, &view, |view, _| table(&context.ui, view))
}

/// Which changes there are, as a list that scripts read: what `down --dry-run` and `reset --dry-run` show.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn show_changes(context: &Context, changes: &[Change]) -> Result<(), CliError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ChangeList<'a> {
        api_version: &'static str,
        kind: &'static str,
        items: &'a [Change],
    }
    let list = ChangeList { api_version: API_VERSION, kind: "ChangeList", items: changes };
    output::show(&context.ui, context.format, &list, |list, _| match list.items {
        [] => "nothing to do\n".to_owned(),
        items => changes_table(&context.ui, items),
    })
}

/// Each list of steps once; that of a template before those of the machines that start from it.
fn steps(engine: &Engine, documents: &Documents, plan: &Plan) -> Vec<Steps> {
    let mut all: Vec<Steps> = Vec::new();
    for change in &plan.changes {
        let pool = documents.pools.iter().find(|pool| pool.name == change.machine.pool);
        let start = pool.map_or(&Start::Boot, |pool| &pool.machine.start);
        let saved = matches!((change.action, start), (Action::Create | Action::Renew, Start::Memory { .. }));
        for action in saved.then_some(Action::Template).into_iter().chain([change.action]) {
            let steps: Vec<String> = engine.steps(action, start).into_iter().map(shown).collect();
            if all.iter().all(|known| known.action != action || known.steps != steps) {
                all.push(Steps { action, steps });
            }
        }
    }
    all
}

/// A step, with what it consists of inside a guest. Only Linux guests start from memory.
fn shown(step: Step) -> String {
    match step {
        Step::BecomeItself => {
            let parts: Vec<&str> = tasks(GuestOs::Linux).iter().map(|task| task.step.label()).collect();
            format!("{step}: {}", parts.join(", "))
        }
        step => step.to_string(),
    }
}

fn table(ui: &Ui, view: &PlanView<'_>) -> String {
    let plan = view.plan;
    let mut text = String::new();
    for image in &plan.builds {
        text.push_str(&format!("+ build image {image}\n"));
    }
    if !plan.changes.is_empty() {
        text.push_str(&changes_table(ui, &plan.changes));
    }
    for template in &plan.given_up {
        text.push_str(&painted(
            ui,
            &format!("- {template}, which no machine needs, goes: its room is needed\n"),
        ));
    }
    text.push_str(&summary(plan));
    for steps in &view.steps {
        text.push_str(&format!("\nSteps of {}:\n", word(steps.action)));
        for (index, step) in steps.steps.iter().enumerate() {
            text.push_str(&format!("  {:>2}. {step}\n", index + 1));
        }
    }
    let folders = plan.folders.iter().map(|of| (format!("Store {}", of.folder.display()), &of.sum));
    for (what, sum) in std::iter::once(("Memory".to_owned(), &plan.memory)).chain(folders) {
        // What is refused is told by the error, with its sum.
        if !sum.lines.is_empty() && (sum.fits() || view.admitted) {
            text.push_str(&format!("\n{what}\n{}", output::sum(sum)));
        }
        if view.admitted && !sum.fits() {
            text.push_str("what runs already is not refused; nothing more would be started\n");
        }
    }
    text
}

fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("nothing to do: {} as the file says\n", counted(plan.unchanged, "machine"));
    }
    let actions =
        [Action::Create, Action::Renew, Action::Start, Action::Await, Action::Update, Action::Destroy];
    let counts = actions.iter().filter_map(|action| {
        let number = plan.changes.iter().filter(|change| change.action == *action).count();
        (number > 0).then(|| format!("{number} to {}", word(*action)))
    });
    let mut parts: Vec<String> = counts.collect();
    parts.push(format!("{} unchanged", plan.unchanged));
    parts.join(", ") + "\n"
}

/// Changes in their order; neighbours of one pool with the same change and reason are one line.
fn changes_table(ui: &Ui, changes: &[Change]) -> String {
    let mut columns = Columns::new(["", "MACHINE", "CHANGE", "WHY"]);
    let alike = |one: &Change, other: &Change| {
        one.action == other.action && one.why == other.why && one.machine.pool == other.machine.pool
    };
    for run in changes.chunk_by(alike) {
        let (first, last) = (&run[0].machine, &run[run.len() - 1].machine);
        let machines = match run.len() {
            1 => first.to_string(),
            many => format!("{first} … {last} ({many})"),
        };
        let action = run[0].action;
        columns.row([symbol(action), &machines, word(action), &run[0].why]);
    }
    let text = columns.text();
    text.split_inclusive('\n').map(|line| painted(ui, line)).collect()
}

fn painted(ui: &Ui, line: &str) -> String {
    use clap::builder::styling::AnsiColor;
    let color = match line.chars().next() {
        Some('+') => AnsiColor::Green,
        Some('-') => AnsiColor::Red,
        Some('~') => AnsiColor::Yellow,
        _ => return line.to_owned(),
    };
    ui.styled(color.on_default(), line.trim_end()) + "\n"
}

const fn symbol(action: Action) -> &'static str {
    match action {
        Action::Create | Action::Start | Action::Template => "+",
        Action::Renew | Action::Update => "~",
        Action::Await => ".",
        Action::Destroy => "-",
    }
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Renew => "reset",
        Action::Start => "start",
        Action::Template => "save",
        Action::Await => "wait for",
        Action::Update => "update",
        Action::Destroy => "take away",
    }
}
