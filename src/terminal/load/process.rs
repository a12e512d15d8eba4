//! CPU time and memory of a process and all that it started, from `/proc` (proc(5)): servers that fork count as one.

use std::time::Duration;

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Memory of its own and its share of what it shares with others (PSS), octets; None: may not be read.
    pub memory: Option<u64>,
}

impl Usage {
    /// Of this process; its memory is not looked at.
    pub(super) fn own() -> Option<Usage> {
        Some(Usage { cpu: stat("self")?.1, memory: None })
    }

    /// None if there is no such process.
    pub fn of(pid: u32) -> Option<Usage> {
        let (_, cpu) = stat(&pid.to_string())?;
        let mut sum = Usage { cpu, memory: memory(pid) };
        let mut others: Vec<(u32, u32, Duration)> = std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let other: u32 = entry.file_name().to_str()?.parse().ok()?;
                let (parent, time) = stat(&other.to_string())?;
                Some((other, parent, time))
            })
            .collect();
        let mut family = vec![pid];
        while let Some(parent) = family.pop() {
            others.retain(|(other, of, time)| {
                let child = *of == parent;
                if child {
                    family.push(*other);
                    sum.cpu = sum.cpu.saturating_add(*time);
                    sum.memory = sum.memory.zip(memory(*other)).map(|(sum, more)| sum.saturating_add(more));
                }
                !child
            });
        }
        Some(sum)
    }

    /// CPU time used since `before`; memory as it is now.
    pub(super) fn since(self, before: &Usage) -> Usage {
        Usage { cpu: self.cpu.saturating_sub(before.cpu), memory: self.memory }
    }
}

/// Parent and CPU time from `/proc/PID/stat`. The unit is the kernel's USER_HZ, 1/100 s on every Linux that Rust has a
/// tier 1 target for.
fn stat(pid: &str) -> Option<(u32, Duration)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may hold anything; the fields proper follow the last one.
    let fields: Vec<&str> = stat.get(stat.rfind(')')?.checked_add(1)?..)?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?); // numbered from 1; state is 3
    let time = |number: usize| field(number)?.parse::<u64>().ok();
    let ticks = time(14)?.saturating_add(time(15)?);
    Some((field(4)?.parse().ok()?, Duration::from_millis(ticks.saturating_mul(10))))
}

/// The kernel counts in units of 1024.
fn memory(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
