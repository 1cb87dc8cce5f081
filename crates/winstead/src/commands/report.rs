//! `winstead report`: what was measured, and what it says.

use std::{
    error::Error,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use winstead_bench::DOCUMENT;
use winstead_measurement::{
    Contention, Findings, Goal,
    import::{self, Measured, NamedRun},
};
use winstead_report::{Document, Runs, Source, Subject};
use winstead_spec::Span;
use winstead_statistics::{Percentile, Seed};

use crate::{cli::Format, context::Context, error::CliError, output, terminal::Tamer};

const EXAMPLES: &str = "\
Examples:
  winstead report contention                         the verdict and the numbers, for a terminal
  winstead report contention --html report.html      one page with plots, to hand on
  winstead report contention --goal p99=5ms          how many machines keep to 5 ms
  winstead report contention --markdown > report.md  for a pull request or a wiki
  winstead report contention --csv > runs.csv        every run, for other people's statistics
  winstead report contention -o json                 for programs; latencies in nanoseconds
  winstead report disk.json                          runs of one disk

The same file, goal and seed always give the same report.";

/// Shows what was measured: the verdict, then the numbers, then what weakens them.
///
/// An experiment with many machines has a verdict; runs of one disk, also fio's and DiskSpd's, are shown without one.
/// The page of --html is one file that loads nothing and needs no script.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    /// What `winstead bench` wrote, or the folder that `bench contention` wrote into.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Writes a page for a browser; its path is printed.
    #[arg(long, value_name = "PAGE", conflicts_with_all = ["markdown", "csv"])]
    html: Option<PathBuf>,
    /// Writes Markdown.
    #[arg(long, conflicts_with = "csv")]
    markdown: bool,
    /// Writes every run as a row of CSV.
    #[arg(long)]
    csv: bool,
    /// What latency has to hold: p50, p95, p99 or p99.9, and a time.
    #[arg(long, value_name = "PERCENTILE=TIME", value_parser = goal)]
    goal: Option<Goal>,
    /// Where the random numbers start that intervals are computed with.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Runs `report`.
///
/// # Errors
/// When the file is no experiment, or the report cannot be written.
pub(crate) async fn run(context: &Context, args: &ReportArgs) -> Result<(), CliError> {
    check(context.format, args)?;
    let (context, args) = (context.clone(), args.clone());
    // Intervals take seconds of computing, in which Ctrl-C must be heard.
    let shown = tokio::task::spawn_blocking(move || show(&context, &args)).await;
    shown.map_err(|error| CliError::runtime(error.into()))?
}

/// What can be seen to be wrong before anything is computed.
fn check(format: Format, args: &ReportArgs) -> Result<(), CliError> {
    let own = args.html.is_some() || args.markdown || args.csv;
    if own && !matches!(format, Format::Table | Format::Wide) {
        let message = "write a report in two formats at once";
        return Err(CliError::usage(message, "leave out -o, or --html, --markdown and --csv"));
    }
    let Some(page) = &args.html else { return Ok(()) };
    if page.is_dir() {
        let message = format!("write the page {}: it is a folder", page.display());
        return Err(CliError::usage(
            message,
            format!("name a file in it: --html {}", winstead_process::shown([page.join("report.html")])),
        ));
    }
    let folder = folder(page);
    if folder.is_dir() {
        return Ok(());
    }
    let message = format!("write the page {}: there is no folder {}", page.display(), folder.display());
    Err(CliError::usage(message, format!("make it first: mkdir -p {}", winstead_process::shown([folder]))))
}

fn show(context: &Context, args: &ReportArgs) -> Result<(), CliError> {
    let path = if args.file.is_dir() { args.file.join(DOCUMENT) } else { args.file.clone() };
    let bytes = fs_err::read(&path).map_err(|error| no_report(&path, error))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let source = Source::of(name, &bytes, args.seed);
    match import::read(&bytes).map_err(|error| no_report(&path, error))? {
        Measured::Contention(document) => experiment(context, args, &document, &source),
        Measured::Runs(named) => runs(context, args, &named, &source),
        Measured::Counters(_) => {
            let message =
                format!("report on {}: it holds counters of Windows, which are no runs", path.display());
            Err(CliError::usage(
                message,
                format!("`winstead bench explain {}`", winstead_process::shown([path])),
            ))
        }
    }
}

/// Many machines at once.
fn experiment(
    context: &Context,
    args: &ReportArgs,
    document: &Contention,
    source: &Source,
) -> Result<(), CliError> {
    if args.csv {
        let rows = winstead_report::csv(document).map_err(|error| no_report(&args.file, error))?;
        // Names in it are a document's, which nobody has checked.
        return context.ui.guest_bytes(&mut Tamer::default(), rows.as_bytes());
    }
    let goal = args.goal;
    let findings =
        Findings::of(document, goal, Seed(args.seed)).map_err(|error| no_report(&args.file, error))?;
    if args.markdown {
        return context.ui.data(&winstead_report::markdown(&findings));
    }
    if let Some(page) = &args.html {
        let subject = Subject { document, findings: &findings, source, goal };
        return put(context, page, &winstead_report::html(&subject));
    }
    let table = |document: &Document<'_>, _| winstead_report::terminal(document.findings);
    output::show(&context.ui, context.format, &Document::of(&findings), table)
}

/// One place, again and again.
fn runs(context: &Context, args: &ReportArgs, named: &[NamedRun], source: &Source) -> Result<(), CliError> {
    if args.csv || args.goal.is_some() {
        let message = format!(
            "report on {} with --csv or --goal: they are for experiments with many machines",
            args.file.display()
        );
        return Err(CliError::usage(message, "`winstead bench contention` measures one"));
    }
    let runs = Runs::of(named, Seed(args.seed));
    if args.markdown {
        return context.ui.data(&winstead_report::markdown_of_runs(&runs));
    }
    if let Some(page) = &args.html {
        return put(context, page, &winstead_report::html_of_runs(&runs, source));
    }
    output::show(&context.ui, context.format, &runs, |runs, _| winstead_report::terminal_of_runs(runs))
}

fn no_report(path: &Path, source: impl Error + Send + Sync + 'static) -> CliError {
    CliError::NoMeasurement {
        path: path.to_owned(),
        source: Box::new(source),
        hint: "name a file of measurements, or the folder that `winstead bench contention --out` wrote",
    }
}

/// Writes a page and says where it is.
fn put(context: &Context, page: &Path, text: &str) -> Result<(), CliError> {
    write(page, text)?;
    context.ui.data(&format!("{}\n", page.display()))
}

fn folder(page: &Path) -> &Path {
    page.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the whole page or none: a reader never meets half of one.
fn write(page: &Path, text: &str) -> Result<(), CliError> {
    let failed = |source| CliError::System {
        what: format!("write the page {}", page.display()),
        source,
        hints: Vec::new(),
    };
    let mut file = file_in(folder(page)).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(page).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A file that goes away unless it gets its name; readable for whom the user's umask allows it, as any other page.
fn file_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".winstead-report-").permissions(permissions).tempfile_in(folder)
}

/// `p99=5ms`.
fn goal(text: &str) -> Result<Goal, String> {
    let known = || Percentile::SHOWN.into_iter().filter(|percentile| *percentile != Percentile::MAX);
    let (name, time) = text.split_once('=').ok_or("a goal is written p99=5ms")?;
    let percentile = known().find(|percentile| percentile.to_string() == name).ok_or_else(|| {
        let names: Vec<String> = known().map(|percentile| percentile.to_string()).collect();
        format!("{name} is none of {}", names.join(", "))
    })?;
    let within: Span = time.parse().map_err(|error| format!("{error}; times are written 5ms or 1s"))?;
    let within = within.duration();
    if within.is_zero() {
        Err("nothing is done in no time".to_owned())
    } else {
        Ok(Goal { percentile, within })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn goals_are_a_percentile_and_a_time() {
        let found = goal("p99.9=20ms").unwrap();
        assert_eq!((found.percentile, found.within), (Percentile::P999, Duration::from_millis(20)));
        for (wrong, said) in [
            ("5ms", "a goal is written p99=5ms"),
            ("p98=5ms", "p98 is none of p50, p95, p99, p99.9"),
            ("max=5ms", "max is none of p50, p95, p99, p99.9"),
            ("p99=5", "\"5\" has no unit; times are written 5ms or 1s"),
            ("p99=0ms", "nothing is done in no time"),
        ] {
            assert_eq!(goal(wrong).unwrap_err(), said);
        }
    }

    #[test]
    fn a_page_appears_whole_and_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("report.html");
        for text in ["first", "second"] {
            write(&page, text).unwrap();
            assert_eq!(fs_err::read_to_string(&page).unwrap(), text);
        }
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
        assert_ne!(fs_err::metadata(&page).unwrap().permissions().mode() & 0o200, 0);
    }
}
