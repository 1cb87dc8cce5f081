//! How far an experiment is: a bar on a terminal, lines elsewhere.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use winstead_bench::{Cell, Progress, Tell};
use winstead_engine::{Event, Listener};

use crate::{context::Context, output::counted};

/// Of what the engine does only what happens once: machines come and go all the time, and each time with the same notes.
pub(super) fn listener(context: &Context) -> Listener {
    let (all, said) = (context.listener(), Mutex::new(BTreeSet::new()));
    Listener::new(move |event| {
        let is_new = match &event {
            Event::Image { .. } => true,
            Event::Note(note) => said.lock().unwrap_or_else(PoisonError::into_inner).insert(note.clone()),
            Event::Phase { .. } | Event::Step { .. } => false,
        };
        if is_new {
            all.tell(event);
        }
    })
}

/// A bar over all runs on a terminal, a line for each elsewhere.
pub(super) fn teller(context: &Context) -> (ProgressBar, Tell) {
    const TEMPLATE: &str = "{wide_msg}  [{bar:20}] {pos} of {len} runs  {elapsed}, {eta} left";
    let style = ProgressStyle::with_template(TEMPLATE).expect("a constant of this file");
    let bar = ProgressBar::new(0).with_style(style.progress_chars("=> "));
    let bar = context.ui.bars().add(bar);
    bar.enable_steady_tick(Duration::from_millis(250));
    let (ui, shown) = (context.ui.clone(), bar.clone());
    let tell: Tell = Arc::new(move |progress| {
        let line = match progress {
            Progress::Begun(cell, number, of) => {
                shown.set_length(of as u64);
                shown.set_position(number as u64 - 1);
                shown.set_message(format!("{}: bringing machines", called(cell)));
                return;
            }
            Progress::Brought(cell, from, took) => {
                let from: Vec<&str> = from.keys().map(String::as_str).collect();
                let seconds = took.as_secs_f64();
                format!(
                    "{}: there after {seconds:.1} s (from {}), measuring",
                    called(cell),
                    from.join(" and ")
                )
            }
            Progress::Done(cell, 0) => format!("{}: done", called(cell)),
            Progress::Done(cell, failed) => {
                format!("{}: done, {failed} of {} machines failed", called(cell), cell.agents)
            }
        };
        if ui.moves() {
            shown.set_message(line);
        } else {
            ui.note(&line);
        }
    });
    (bar, tell)
}

fn called(cell: Cell) -> String {
    format!("{} with {}, repeat {}", cell.arm.name(), counted(cell.agents as usize, "machine"), cell.repeat)
}
