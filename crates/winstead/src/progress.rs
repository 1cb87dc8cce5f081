//! What happens while the engine works: bars that move on a terminal, plain lines elsewhere, nothing when quiet.
//! Never on standard output.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use winstead_engine::{Event, Listener, Phase};
use winstead_spec::{MachineName, Name};

use crate::ui::Ui;

/// How often a bar's seconds move on.
const TICK: Duration = Duration::from_millis(250);

/// A listener that shows every event on `ui`.
pub(crate) fn listener(ui: &Ui) -> Listener {
    let ui = ui.clone();
    if ui.moves() {
        let bars = Arc::new(Mutex::new(Bars::default()));
        return Listener::new(move |event| {
            bars.lock().unwrap_or_else(PoisonError::into_inner).show(&ui, event);
        });
    }
    let lines = Mutex::new(Lines::default());
    Listener::new(move |event| {
        let line = lines.lock().unwrap_or_else(PoisonError::into_inner).line(event, ui.is_verbose());
        if let Some(line) = line {
            ui.note(&line);
        }
    })
}

/// What was said last of each image: a step is one line, however often it moves on.
#[derive(Debug, Default)]
struct Lines {
    steps: HashMap<String, String>,
}

impl Lines {
    fn line(&mut self, event: Event, verbose: bool) -> Option<String> {
        match event {
            Event::Image { name, step, .. } => {
                let name = name.to_string();
                let new = self.steps.get(&name).is_none_or(|last| *last != step);
                let line = format!("image {name}  {step}");
                new.then(|| {
                    self.steps.insert(name, step);
                    line
                })
            }
            Event::Phase { name, phase, message } => {
                Some(format!("{name}  {phase:<12}  {message}").trim_end().to_owned())
            }
            Event::Step { name, step } => verbose.then(|| format!("{name}  {:<12}  {step}", "")),
            Event::Note(text) => Some(text),
        }
    }
}

/// One bar for each image and each machine, in the order of their names whoever begins first.
#[derive(Debug, Default)]
struct Bars {
    bars: BTreeMap<Subject, Bar>,
}

/// What a bar is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Image(Name),
    Machine(MachineName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) => write!(f, "image {name}"),
            Self::Machine(name) => write!(f, "{name}"),
        }
    }
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    phase: Option<Phase>,
}

impl Bars {
    fn show(&mut self, ui: &Ui, event: Event) {
        match event {
            Event::Image { name, step, progress } => self.image(ui, Subject::Image(name), step, progress),
            Event::Phase { name, phase, message } => self.phase(ui, Subject::Machine(name), phase, &message),
            Event::Step { name, step } => {
                let bar = self.bar(ui, Subject::Machine(name));
                let phase = bar.phase.map(|phase| phase.to_string()).unwrap_or_default();
                bar.bar.set_message(format!("{phase:<12}  {step}"));
            }
            Event::Note(text) => ui.note(&text),
        }
    }

    fn phase(&mut self, ui: &Ui, subject: Subject, phase: Phase, message: &str) {
        let bar = self.bar(ui, subject);
        bar.phase = Some(phase);
        let message = message.lines().next().unwrap_or_default();
        let text = format!("{phase:<12}  {message}");
        if matches!(phase, Phase::Ready | Phase::Held | Phase::Failed | Phase::Gone) {
            bar.bar.finish_with_message(text);
        } else {
            bar.bar.set_message(text);
        }
    }

    fn image(&mut self, ui: &Ui, subject: Subject, step: String, progress: Option<(u64, u64)>) {
        let bar = self.bar(ui, subject);
        match progress {
            Some((done, all)) if all > 0 => {
                bar.bar.set_style(style("{prefix}  {wide_msg}  [{bar:20}] {percent:>3}%  {elapsed}"));
                bar.bar.set_length(all);
                bar.bar.set_position(done);
            }
            _ => bar.bar.set_style(style(SPINNER)),
        }
        bar.bar.set_message(step);
    }

    fn bar(&mut self, ui: &Ui, subject: Subject) -> &mut Bar {
        let place = self.bars.range(..&subject).count();
        let prefix = format!("{:<16}", subject.to_string());
        self.bars.entry(subject).or_insert_with(|| {
            let bar = ui.bars().insert(place, ProgressBar::new_spinner().with_style(style(SPINNER)));
            bar.set_prefix(prefix);
            bar.enable_steady_tick(TICK);
            Bar { bar, phase: None }
        })
    }
}

/// Bars of work that did not come to its end stay as they were last.
impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.bars.values().filter(|bar| !bar.bar.is_finished()) {
            match bar.phase {
                Some(_) => bar.bar.abandon(),
                None => bar.bar.finish_and_clear(),
            }
        }
    }
}

const SPINNER: &str = "{prefix}  {wide_msg}  {elapsed}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("templates are constants of this file")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_one_line_for_each_phase_and_each_new_step_of_an_image() {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        let name = || "a-0".parse().unwrap();
        let image = |done| Event::Image {
            name: "debian".parse().unwrap(),
            step: "install".into(),
            progress: Some((done, 9)),
        };
        for event in [
            image(1),
            image(2),
            Event::Phase { name: name(), phase: Phase::Booting, message: "new".into() },
            Event::Step { name: name(), step: "start QEMU" },
            Event::Phase { name: name(), phase: Phase::Gone, message: String::new() },
            Event::Note("careful".into()),
        ] {
            said.extend(lines.line(event, false));
        }
        assert_eq!(said, ["image debian  install", "a-0  Booting       new", "a-0  Gone", "careful"]);
    }

    #[test]
    fn both_templates_are_sound() {
        style(SPINNER);
        style("{prefix}  {wide_msg}  [{bar:20}] {percent:>3}%  {elapsed}");
    }
}
