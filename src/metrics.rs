//! Counters, gauges and histograms of a node, and their text for Prometheus (rank 0).
//!
//! A handle is asked for once by name and labels and then costs one atomic operation. What a label may hold comes
//! from the network or from a script, so each metric has a limit of series: above it all labels read `other`, and how
//! often that happened is a metric too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Series of one metric.
pub const MAX_SERIES: usize = 100;
/// Metrics of one node.
pub const MAX_METRICS: usize = 1000;
/// Octets of one label's value that are kept.
const MAX_VALUE: usize = 64;
/// What stands in every label of what is over the limit.
const OTHER: &str = "other";
const DROPPED: &str = "imscript_metric_series_dropped_total";

/// Upper bounds in seconds from 100 µs to 10 s, three a decade: what a histogram has when nothing else is said.
pub const SECONDS: [f64; 16] =
    [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why a metric cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    #[error("{0:?} is no metric's name: letters, digits and _, not beginning with a digit")]
    Name(String),
    #[error("{0:?} is no label's name: letters, digits and _, not beginning with a digit or __, not \"le\"")]
    Label(String),
    #[error("{name} is a {is}, not a {asked}")]
    Kind { name: String, is: &'static str, asked: &'static str },
    #[error("{name} has the labels ({has}), not ({asked}): a metric's labels are always the same")]
    Labels { name: String, has: String, asked: String },
    #[error("the bounds of a histogram are 1 to 32 finite numbers, each above the one before")]
    Bounds,
    #[error("{name} has other bounds already")]
    OtherBounds { name: String },
    #[error("the node has {MAX_METRICS} metrics already")]
    TooMany,
}

/// Goes up only.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn add(&self, by: f64) {
        add(&self.0, by);
    }

    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Counts values by size.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: Arc<[f64]>,
    /// One more than there are bounds: the last has no upper end.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: Arc<[f64]>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets { bounds, counts, sum: AtomicU64::new(0) }))
    }

    /// What is not a number is not counted.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        add(&self.0.sum, value);
    }

    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new(Arc::new(SECONDS))
    }
}

/// Adds to a floating-point number that lies in an integer cell.
fn add(cell: &AtomicU64, by: f64) {
    let sum = |bits| Some((f64::from_bits(bits) + by).to_bits());
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum); // the closure never declines
}

#[derive(Debug, Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// What a family's series are made of.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram(Arc<[f64]>),
}

impl Kind {
    fn as_str(&self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }

    fn series(&self) -> Series {
        match self {
            Kind::Counter => Series::Counter(Counter::default()),
            Kind::Gauge => Series::Gauge(Gauge::default()),
            Kind::Histogram(bounds) => Series::Histogram(Histogram::new(bounds.clone())),
        }
    }
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    labels: Vec<String>,
    series: BTreeMap<Vec<String>, Series>,
    dropped: Counter,
}

/// All metrics of a node.
#[derive(Debug, Default)]
pub struct Metrics(RwLock<BTreeMap<String, Family>>);

impl Metrics {
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Counter, MetricError> {
        match self.series(name, help, labels, Kind::Counter)? {
            Series::Counter(counter) => Ok(counter),
            _ => Ok(Counter::default()), // series() has compared the kinds
        }
    }

    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Gauge, MetricError> {
        match self.series(name, help, labels, Kind::Gauge)? {
            Series::Gauge(gauge) => Ok(gauge),
            _ => Ok(Gauge::default()),
        }
    }

    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
    ) -> Result<Histogram, MetricError> {
        let rising = bounds.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if bounds.is_empty() || bounds.len() > 32 || !rising || !bounds.iter().all(|bound| bound.is_finite()) {
            return Err(MetricError::Bounds);
        }
        match self.series(name, help, labels, Kind::Histogram(bounds.into()))? {
            Series::Histogram(histogram) => Ok(histogram),
            _ => Ok(Histogram::default()),
        }
    }

    fn series(&self, name: &str, help: &str, labels: &[(&str, &str)], kind: Kind) -> Result<Series, MetricError> {
        if let Some(family) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            let values = family.values(name, labels, &kind)?;
            if let Some(series) = family.series.get(&values) {
                return Ok(series.clone());
            }
        }
        let mut families = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let full = families.len() >= MAX_METRICS;
        let family = match families.get_mut(name) {
            Some(family) => family,
            None if full => return Err(MetricError::TooMany),
            None => families.entry(name.to_owned()).or_insert(Family::new(name, help, labels, kind.clone())?),
        };
        let mut values = family.values(name, labels, &kind)?;
        if family.series.len() >= MAX_SERIES && !family.series.contains_key(&values) {
            family.dropped.add(1);
            values.iter_mut().for_each(|value| OTHER.clone_into(value));
        }
        Ok(family.series.entry(values).or_insert_with(|| kind.series()).clone())
    }

    /// The text exposition format, version 0.0.4.
    pub fn exposition(&self) -> String {
        self.exposition_with(None)
    }

    /// The same, with a label in every series whose metric has none of that name.
    pub fn exposition_with(&self, everywhere: Option<(&str, &str)>) -> String {
        let mut text = String::new();
        let mut dropped = String::new();
        for (name, family) in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n", family.kind.as_str());
            let more = everywhere.filter(|(label, _)| !family.labels.iter().any(|own| own == label));
            for (values, series) in &family.series {
                let own = family.labels.iter().map(String::as_str).zip(values.iter().map(String::as_str));
                let labels: Vec<_> = more.into_iter().chain(own).collect();
                write_series(&mut text, name, &labels, series);
            }
            if family.dropped.get() > 0 {
                let labels: Vec<_> = everywhere.into_iter().chain([("metric", name.as_str())]).collect();
                line(&mut dropped, DROPPED, "", &labels, None, &family.dropped.get().to_string());
            }
        }
        if !dropped.is_empty() {
            let help = "Look-ups of a series that its metric had no room for.";
            let _ = write!(text, "# HELP {DROPPED} {help}\n# TYPE {DROPPED} counter\n{dropped}");
        }
        text
    }
}

impl Family {
    fn new(name: &str, help: &str, labels: &[(&str, &str)], kind: Kind) -> Result<Self, MetricError> {
        if !is_name(name) || name == DROPPED {
            return Err(MetricError::Name(name.to_owned()));
        }
        if let Some((label, _)) = labels.iter().find(|(label, _)| !is_label(label)) {
            return Err(MetricError::Label((*label).to_owned()));
        }
        let labels: Vec<String> = labels.iter().map(|(label, _)| (*label).to_owned()).collect();
        Ok(Family { kind, help: help.to_owned(), labels, series: BTreeMap::new(), dropped: Counter::default() })
    }

    /// The labels' values in the order of the family, if they and the kind are the family's.
    fn values(&self, name: &str, labels: &[(&str, &str)], kind: &Kind) -> Result<Vec<String>, MetricError> {
        let name = || name.to_owned();
        if self.kind.as_str() != kind.as_str() {
            return Err(MetricError::Kind { name: name(), is: self.kind.as_str(), asked: kind.as_str() });
        }
        if self.kind != *kind {
            return Err(MetricError::OtherBounds { name: name() });
        }
        let value = |label: &String| labels.iter().find(|(name, _)| name == label).map(|(_, value)| bounded(value));
        match self.labels.iter().map(value).collect::<Option<Vec<_>>>() {
            Some(values) if self.labels.len() == labels.len() => Ok(values),
            _ => {
                let asked = labels.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                Err(MetricError::Labels { name: name(), has: self.labels.join(", "), asked })
            }
        }
    }
}

fn bounded(value: &str) -> String {
    let end = value.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_VALUE).last();
    value.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

fn is_label(label: &str) -> bool {
    is_name(label) && !label.starts_with("__") && label != "le"
}

fn write_series(text: &mut String, name: &str, labels: &[(&str, &str)], series: &Series) {
    match series {
        Series::Counter(counter) => line(text, name, "", labels, None, &counter.get().to_string()),
        Series::Gauge(gauge) => line(text, name, "", labels, None, &number(gauge.get())),
        Series::Histogram(histogram) => {
            let Buckets { bounds, counts, sum } = &*histogram.0;
            let mut below = 0u64;
            let ends = bounds.iter().copied().chain([f64::INFINITY]);
            for (end, count) in ends.zip(counts) {
                below = below.saturating_add(count.load(Ordering::Relaxed));
                line(text, name, "_bucket", labels, Some(end), &below.to_string());
            }
            let sum = f64::from_bits(sum.load(Ordering::Relaxed));
            line(text, name, "_sum", labels, None, &number(sum));
            // The same number as in the last bucket, though somebody counts meanwhile.
            line(text, name, "_count", labels, None, &below.to_string());
        }
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &[(&str, &str)], le: Option<f64>, value: &str) {
    text.push_str(name);
    text.push_str(suffix);
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut pairs: Vec<String> =
        labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
    pairs.extend(le.map(|end| format!("le=\"{}\"", number(end))));
    if !pairs.is_empty() {
        let _ = write!(text, "{{{}}}", pairs.join(","));
    }
    let _ = writeln!(text, " {value}");
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.counter("hits_total", "Hits.\nTwo \\ lines.", &[("unit", "a\"b\\c\nd")]).unwrap().add(3);
        metrics.gauge("load", "Load.", &[]).unwrap().set(0.5);
        let histogram = metrics.histogram("time_seconds", "Time.", &[("stage", "route")], &[0.001, 0.01]).unwrap();
        [0.0005, 0.001, 0.005, 7.0, f64::NAN].into_iter().for_each(|value| histogram.observe(value));
        let expected = "\
# HELP hits_total Hits.\\nTwo \\\\ lines.
# TYPE hits_total counter
hits_total{unit=\"a\\\"b\\\\c\\nd\"} 3
# HELP load Load.
# TYPE load gauge
load 0.5
# HELP time_seconds Time.
# TYPE time_seconds histogram
time_seconds_bucket{stage=\"route\",le=\"0.001\"} 2
time_seconds_bucket{stage=\"route\",le=\"0.01\"} 3
time_seconds_bucket{stage=\"route\",le=\"+Inf\"} 4
time_seconds_sum{stage=\"route\"} 7.0065
time_seconds_count{stage=\"route\"} 4
";
        assert_eq!(metrics.exposition(), expected);
    }

    #[test]
    fn a_label_for_all_stands_where_none_of_its_name_does() {
        let metrics = Metrics::default();
        metrics.counter("a", "", &[]).unwrap().add(1);
        metrics.counter("b", "", &[("generation", "2"), ("unit", "x")]).unwrap().add(1);
        metrics.histogram("c", "", &[("stage", "route")], &[1.0]).unwrap();
        let text = metrics.exposition_with(Some(("generation", "3")));
        assert!(text.contains("a{generation=\"3\"} 1\n"), "{text}");
        assert!(text.contains("b{generation=\"2\",unit=\"x\"} 1\n"), "{text}");
        assert!(text.contains("c_bucket{generation=\"3\",stage=\"route\",le=\"+Inf\"} 0\n"), "{text}");
    }

    #[test]
    fn the_same_name_and_labels_are_the_same_series_in_any_order() {
        let metrics = Metrics::default();
        metrics.counter("n", "", &[("a", "1"), ("b", "2")]).unwrap().add(1);
        metrics.counter("n", "", &[("b", "2"), ("a", "1")]).unwrap().add(1);
        assert_eq!(metrics.counter("n", "", &[("a", "1"), ("b", "2")]).unwrap().get(), 2);
    }

    #[test]
    fn over_the_limit_labels_read_other_and_that_is_counted() {
        let metrics = Metrics::default();
        for user in 0..MAX_SERIES + 50 {
            metrics.counter("n", "", &[("user", &user.to_string())]).unwrap().add(1);
        }
        assert_eq!(metrics.counter("n", "", &[("user", "7")]).unwrap().get(), 1);
        let text = metrics.exposition();
        assert!(text.contains("n{user=\"other\"} 50\n"), "{text}");
        assert!(text.contains("imscript_metric_series_dropped_total{metric=\"n\"} 50\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("n{")).count(), MAX_SERIES + 1);
    }

    #[test]
    fn what_is_no_metric_is_refused() {
        let metrics = Metrics::default();
        assert!(matches!(metrics.counter("1a", "", &[]), Err(MetricError::Name(_))));
        assert!(matches!(metrics.counter("", "", &[]), Err(MetricError::Name(_))));
        assert!(matches!(metrics.counter("a", "", &[("le", "")]), Err(MetricError::Label(_))));
        assert!(matches!(metrics.histogram("h", "", &[], &[2.0, 1.0]), Err(MetricError::Bounds)));
        metrics.counter("n", "", &[("a", "")]).unwrap();
        assert!(matches!(metrics.gauge("n", "", &[("a", "")]), Err(MetricError::Kind { .. })));
        assert!(matches!(metrics.counter("n", "", &[("b", "")]), Err(MetricError::Labels { .. })));
        metrics.histogram("h", "", &[], &[1.0]).unwrap();
        assert!(matches!(metrics.histogram("h", "", &[], &[2.0]), Err(MetricError::OtherBounds { .. })));
    }

    #[test]
    fn a_value_is_cut_between_characters() {
        assert_eq!(bounded(&"ä".repeat(40)), "ä".repeat(32));
        assert_eq!(bounded("x"), "x");
    }
}
