//! Log lines that name the generation of policy and plugins that serves; `imscript run` writes with it.
//!
//! A line that is about one generation names that one in a field of its own and is left alone. Any other ends with the one that
//! serves, and with the candidate while a canary is on: either may have decided what the line tells.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// The field, and the label of metrics.
pub const GENERATION: &str = "generation";

/// Which generation serves, for whoever writes lines or metrics. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Serving(Arc<Numbers>);

/// 0: there is none.
#[derive(Debug, Default)]
struct Numbers {
    serving: AtomicU64,
    canary: AtomicU64,
}

impl Serving {
    pub fn set(&self, serving: u64, canary: Option<u64>) {
        self.0.serving.store(serving, Ordering::Relaxed);
        self.0.canary.store(canary.unwrap_or(0), Ordering::Relaxed);
    }

    /// None in a node without generations, and before the first is read.
    pub fn generation(&self) -> Option<u64> {
        Some(self.0.serving.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    fn canary(&self) -> Option<u64> {
        Some(self.0.canary.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }
}

/// Writes a line's fields as usual, and the generation behind them.
pub struct Lines(pub Serving);

impl<'writer> FormatFields<'writer> for Lines {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        DefaultFields::new().format_fields(writer.by_ref(), &fields)?;
        let mut names = Names { generation: false };
        fields.record(&mut names);
        let Some(generation) = self.0.generation().filter(|_| !names.generation) else { return Ok(()) };
        write!(writer, " {GENERATION}={generation}")?;
        match self.0.canary() {
            Some(canary) => write!(writer, " canary={canary}"),
            None => Ok(()),
        }
    }
}

/// Whether a line has the field.
struct Names {
    generation: bool,
}

impl Visit for Names {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.generation |= field.name() == GENERATION;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_names_one_generation_and_its_own_first() {
        let (kept, serving) = (Kept::default(), Serving::default());
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(Lines(serving.clone()))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("early");
            serving.set(7, None);
            tracing::info!(status = 403, "refused");
            tracing::info!(generation = 6_u64, "ended");
            serving.set(7, Some(8));
            tracing::info!("registered");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let expected = [
            "INFO early",
            "INFO refused status=403 generation=7",
            "INFO ended generation=6",
            "INFO registered generation=7 canary=8",
        ];
        assert_eq!(lines, expected);
    }
}
