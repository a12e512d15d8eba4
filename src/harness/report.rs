//! What came of a run of tests: as text for people, as JSON for programs, as JUnit XML for build servers.

use crate::policy::diagnostic::Diagnostic;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::io;
use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub files: Vec<FileReport>,
    /// With `--coverage`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<FileCoverage>,
}

/// One test file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    pub file: String,
    pub tests: Vec<TestReport>,
    /// Why the file has no tests: it cannot be read, or its top level fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Diagnostic>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    pub name: String,
    pub line: u32,
    #[serde(rename = "nanoseconds", serialize_with = "nanoseconds")]
    pub time: Duration,
    /// None: passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Diagnostic>,
    /// What the test printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl TestReport {
    /// Of a test that has not run.
    pub fn new(name: String, line: u32) -> Self {
        TestReport { name, line, time: Duration::ZERO, failure: None, output: Vec::new() }
    }
}

/// Lines of one file that were run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileCoverage {
    pub file: String,
    pub covered: usize,
    pub total: usize,
    pub missed: Vec<u32>,
}

fn nanoseconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

impl Report {
    /// Adds what came of other files.
    pub fn extend(&mut self, other: Report) {
        self.files.extend(other.files);
        self.coverage.extend(other.coverage);
    }

    pub fn passed(&self) -> usize {
        self.tests().filter(|test| test.failure.is_none()).count()
    }

    /// Tests that failed, and files that have none to run for a fault.
    pub fn failed(&self) -> usize {
        let faults = self.files.iter().filter(|file| file.fault.is_some()).count();
        self.tests().filter(|test| test.failure.is_some()).count().saturating_add(faults)
    }

    pub fn is_success(&self) -> bool {
        self.failed() == 0
    }

    /// The faults in the order of the files, for whoever refuses a plugin on them.
    pub fn faults(&self) -> impl Iterator<Item = &Diagnostic> {
        self.files.iter().flat_map(|file| file.fault.iter().chain(file.tests.iter().filter_map(|t| t.failure.as_ref())))
    }

    fn tests(&self) -> impl Iterator<Item = &TestReport> {
        self.files.iter().flat_map(|file| &file.tests)
    }

    pub fn time(&self) -> Duration {
        self.tests().map(|test| test.time).sum()
    }

    /// JUnit's form as build servers read it: a suite per file, a case per test.
    pub fn junit(&self) -> io::Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let all = self.passed().saturating_add(self.failed());
        writer
            .create_element("testsuites")
            .with_attributes([
                ("tests", all.to_string().as_str()),
                ("failures", self.failed().to_string().as_str()),
                ("time", seconds(self.time()).as_str()),
            ])
            .write_inner_content(|writer| {
                for file in &self.files {
                    file.suite(writer)?;
                }
                Ok(())
            })?;
        let mut octets = writer.into_inner();
        octets.push(b'\n');
        Ok(octets)
    }
}

impl FileReport {
    fn suite(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let failed = self.tests.iter().filter(|test| test.failure.is_some()).count();
        let faults = usize::from(self.fault.is_some());
        let time = self.tests.iter().map(|test| test.time).sum();
        let suite = writer.create_element("testsuite").with_attributes([
            ("name", clean(&self.file).as_str()),
            ("tests", self.tests.len().saturating_add(faults).to_string().as_str()),
            ("failures", failed.to_string().as_str()),
            ("errors", faults.to_string().as_str()),
            ("time", seconds(time).as_str()),
        ]);
        suite.write_inner_content(|writer| {
            if let Some(fault) = &self.fault {
                case(writer, &self.file, "(file)", Duration::ZERO, Some(("error", fault)), &[])?;
            }
            for test in &self.tests {
                let failure = test.failure.as_ref().map(|failure| ("failure", failure));
                case(writer, &self.file, &test.name, test.time, failure, &test.output)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn case(
    writer: &mut Writer<Vec<u8>>,
    file: &str,
    name: &str,
    time: Duration,
    failure: Option<(&str, &Diagnostic)>,
    output: &[String],
) -> io::Result<()> {
    let case = writer.create_element("testcase").with_attributes([
        ("classname", clean(file).as_str()),
        ("name", clean(name).as_str()),
        ("time", seconds(time).as_str()),
    ]);
    if failure.is_none() && output.is_empty() {
        case.write_empty()?;
        return Ok(());
    }
    case.write_inner_content(|writer| {
        if let Some((kind, failure)) = failure {
            writer
                .create_element(kind)
                .with_attribute(("message", clean(&failure.reason).as_str()))
                .write_text_content(BytesText::new(&clean(&failure.to_string())))?;
        }
        if !output.is_empty() {
            writer.create_element("system-out").write_text_content(BytesText::new(&clean(&output.join("\n"))))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// XML 1.0 has no way to write control characters.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{}", file.file)?;
            if let Some(fault) = &file.fault {
                writeln!(f, "  FAILED  the file cannot be run\n{}", indented(fault))?;
            }
            for test in &file.tests {
                let word = if test.failure.is_some() { "FAILED" } else { "ok    " };
                let time = test.time.as_secs_f64() * 1e3;
                writeln!(f, "  {word}  {} ({time:.1} ms)", test.name)?;
                if let Some(failure) = &test.failure {
                    writeln!(f, "{}", indented(failure))?;
                    for line in &test.output {
                        writeln!(f, "      printed: {line}")?;
                    }
                }
            }
        }
        for file in &self.coverage {
            let percent = if file.total == 0 { 100.0 } else { 100.0 * file.covered as f64 / file.total as f64 };
            write!(f, "coverage {}: {}/{} lines, {percent:.0} %", file.file, file.covered, file.total)?;
            if !file.missed.is_empty() {
                write!(f, ", not run: {}", ranges(&file.missed))?;
            }
            writeln!(f)?;
        }
        let time = self.time().as_secs_f64() * 1e3;
        write!(f, "{} passed, {} failed, {time:.0} ms", self.passed(), self.failed())
    }
}

fn indented(fault: &Diagnostic) -> String {
    fault.to_string().lines().fold(String::new(), |mut text, line| {
        let _ = write!(text, "{}      {line}", if text.is_empty() { "" } else { "\n" });
        text
    })
}

/// `3, 7-9`
fn ranges(lines: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*line) => *last = *line,
            _ => parts.push((*line, *line)),
        }
    }
    let word = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let test = |name: &str, failure: Option<Diagnostic>| TestReport {
            name: name.into(),
            line: 3,
            time: Duration::from_millis(2),
            failure,
            output: vec!["seen <this> & \u{1}".into()],
        };
        let failure = Diagnostic::new("a_test.lua", Some(3), "403 <> 200").in_text("\n\n  t:expect(x)\n");
        let tests = vec![test("routes \"north\" & south", None), test("fails", Some(failure))];
        let fault = Some(Diagnostic::new("b_test.lua", Some(1), "unexpected end"));
        Report {
            files: vec![
                FileReport { file: "a_test.lua".into(), tests, fault: None },
                FileReport { file: "b_test.lua".into(), tests: Vec::new(), fault },
            ],
            coverage: vec![FileCoverage { file: "main.lua".into(), covered: 6, total: 10, missed: vec![3, 5, 6, 7] }],
        }
    }

    #[test]
    fn a_person_sees_what_failed_where_and_how_much_was_run() {
        let text = report().to_string();
        assert!(text.contains("  ok      routes \"north\" & south (2.0 ms)\n"), "{text}");
        assert!(text.contains("      a_test.lua:3: 403 <> 200\n        3 |   t:expect(x)\n"), "{text}");
        assert!(text.contains("printed: seen"), "{text}");
        assert!(text.contains("coverage main.lua: 6/10 lines, 60 %, not run: 3, 5-7\n"), "{text}");
        assert!(text.ends_with("1 passed, 2 failed, 4 ms"), "{text}");
        assert!(!report().is_success());
    }

    #[test]
    fn junit_is_well_formed_and_escaped() {
        let xml = report().junit().unwrap();
        let mut reader = quick_xml::Reader::from_reader(xml.as_slice());
        reader.config_mut().check_end_names = true;
        let (mut cases, mut failures, mut buffer) = (0, 0, Vec::new());
        loop {
            match reader.read_event_into(&mut buffer).unwrap() {
                Event::Eof => break,
                Event::Start(e) | Event::Empty(e) => match e.name().as_ref() {
                    "testcase" => cases += 1,
                    "failure" | "error" => failures += 1,
                    _ => {}
                },
                _ => {}
            }
            buffer.clear();
        }
        assert_eq!((cases, failures), (3, 2));
        let text = String::from_utf8(xml).unwrap();
        assert!(text.contains(r#"name="routes &quot;north&quot; &amp; south""#), "{text}");
        assert!(text.contains("seen &lt;this&gt; &amp; \u{fffd}"), "{text}");
    }
}
