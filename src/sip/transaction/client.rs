//! Non-INVITE client transactions (RFC 3261 §17.1.2): repeats a request over UDP until it is answered (timer E), gives
//! up in time (timer F), matches responses (§17.1.3) and absorbs repeated ones (timer K). Driven by `sip::transport`.
//!
//! `W` is whatever the caller wants back when a transaction ends: the one that waits for it.

use super::{MAGIC_COOKIE, T1, T2, T4, TIMEOUT};
use crate::shelf::Hasher;
use crate::sip::Message;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Our token in the top Via: the cookie and 64 bits that nobody can foretell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Branch(u64);

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MAGIC_COOKIE}{:016x}", self.0)
    }
}

impl Branch {
    /// What stands behind the cookie, in hexadecimal.
    pub fn octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn parse(text: &[u8]) -> Option<Branch> {
        let (cookie, digits) = text.split_at_checked(MAGIC_COOKIE.len())?;
        let ours = cookie.eq_ignore_ascii_case(MAGIC_COOKIE.as_bytes()) && digits.len() == 16;
        let digits = std::str::from_utf8(digits).ok().filter(|d| ours && !d.starts_with('+'))?;
        u64::from_str_radix(digits, 16).ok().map(Branch)
    }
}

/// What to send again over an unreliable transport, and where.
#[derive(Debug, Clone)]
pub struct Resend {
    pub to: SocketAddr,
    pub bytes: Rc<[u8]>,
}

/// What a response means.
#[derive(Debug, PartialEq, Eq)]
pub enum Matched<W> {
    /// It answers nothing that was asked: drop it.
    Stray,
    /// A provisional response, or the final one again.
    Absorbed,
    /// The final response of the one that waits.
    Final(W),
}

/// What a timer asks for.
#[derive(Debug)]
pub enum Due<W> {
    Resend(Resend),
    TimedOut(W),
}

struct Entry<W> {
    method: Box<[u8]>,
    /// Gone once the transaction is completed.
    waiter: Option<W>,
    resend: Option<Resend>,
    /// Next transmission (timer E) and the interval that led to it; meaningless without `resend`.
    again: Duration,
    interval: Duration,
    /// Timer F, after completion timer K.
    until: Duration,
    provisional: bool,
    /// Vias that its responses have: ours, and those of whom it is relayed for.
    vias: usize,
}

impl<W> Entry<W> {
    fn deadline(&self) -> Duration {
        if self.resend.is_some() { self.again.min(self.until) } else { self.until }
    }
}

pub struct ClientTable<W> {
    entries: HashMap<Branch, Entry<W>, Hasher>,
    timers: BTreeSet<(Duration, Branch)>,
    seed: RandomState,
    issued: u64,
}

impl<W> Default for ClientTable<W> {
    fn default() -> Self {
        ClientTable { entries: HashMap::default(), timers: BTreeSet::new(), seed: RandomState::new(), issued: 0 }
    }
}

impl<W> ClientTable<W> {
    pub fn new() -> Self {
        Self::default()
    }

    /// A fresh branch: a counter under a keyed digest whose key comes from the system's generator.
    pub fn branch(&mut self) -> Branch {
        loop {
            self.issued = self.issued.wrapping_add(1);
            let branch = Branch(self.seed.hash_one(self.issued));
            if !self.entries.contains_key(&branch) {
                return branch;
            }
        }
    }

    /// A request was sent. `resend`: over UDP, what to repeat; None over a reliable transport. `within`: the time after
    /// which the caller does not want the answer any more; timer F ends the transaction anyway.
    pub fn start(
        &mut self,
        branch: Branch,
        method: &[u8],
        resend: Option<Resend>,
        waiter: W,
        within: Duration,
        now: Duration,
    ) {
        let entry = Entry {
            method: method.into(),
            waiter: Some(waiter),
            resend,
            again: now.saturating_add(T1),
            interval: T1,
            until: now.saturating_add(within.min(TIMEOUT)),
            provisional: false,
            vias: 1,
        };
        self.timers.insert((entry.deadline(), branch));
        self.entries.insert(branch, entry);
    }

    /// The request has so many Vias of others under ours: it is relayed for them (RFC 3261 §16.6 step 8).
    pub fn relays_for(&mut self, branch: Branch, others: usize) {
        if let Some(entry) = self.entries.get_mut(&branch) {
            entry.vias = others.saturating_add(1);
        }
    }

    /// A response arrived: ours if it has our branch on top and no more Vias than the request had, and repeats our method
    /// in CSeq.
    pub fn on_response(&mut self, response: &Message<'_>, now: Duration) -> Matched<W> {
        let Some(branch) = response.top_via().ok().and_then(|via| Branch::parse(via.branch()?)) else {
            return Matched::Stray;
        };
        let Some(entry) = self.entries.get_mut(&branch) else { return Matched::Stray };
        let other_method = response.cseq().ok().is_none_or(|cseq| *cseq.method != *entry.method);
        if other_method || response.vias().take(entry.vias.saturating_add(1)).count() != entry.vias {
            return Matched::Stray;
        }
        if response.status() < 200 {
            entry.provisional = true;
            return Matched::Absorbed;
        }
        let Some(waiter) = entry.waiter.take() else { return Matched::Absorbed };
        self.timers.remove(&(entry.deadline(), branch));
        if entry.resend.take().is_some() {
            entry.until = now.saturating_add(T4);
            self.timers.insert((entry.until, branch));
        } else {
            self.entries.remove(&branch);
        }
        Matched::Final(waiter)
    }

    /// One thing that is due by `now`; call again until there is none.
    pub fn due(&mut self, now: Duration) -> Option<Due<W>> {
        while let Some((deadline, branch)) = self.timers.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.timers.remove(&(deadline, branch));
            let Some(entry) = self.entries.get_mut(&branch) else { continue };
            if entry.until <= now {
                match self.entries.remove(&branch).and_then(|entry| entry.waiter) {
                    Some(waiter) => return Some(Due::TimedOut(waiter)),
                    None => continue, // timer K
                }
            }
            entry.interval = if entry.provisional { T2 } else { entry.interval.saturating_mul(2).min(T2) };
            entry.again = now.saturating_add(entry.interval);
            self.timers.insert((entry.deadline(), branch));
            if let Some(resend) = &entry.resend {
                return Some(Due::Resend(resend.clone()));
            }
        }
        None
    }

    /// When [`ClientTable::due`] has something next.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// Ends every transaction whose waiter is `lost`, such as those on a connection that broke.
    pub fn fail(&mut self, lost: impl Fn(&W) -> bool) -> Vec<W> {
        let gone = self.entries.iter().filter(|(_, entry)| entry.waiter.as_ref().is_some_and(&lost));
        let gone: Vec<Branch> = gone.map(|(branch, _)| *branch).collect();
        gone.into_iter().filter_map(|branch| self.cancel(branch)).collect()
    }

    /// Ends a transaction that nobody waits for any more.
    pub fn cancel(&mut self, branch: Branch) -> Option<W> {
        let entry = self.entries.get_mut(&branch)?;
        let waiter = entry.waiter.take()?;
        self.timers.remove(&(entry.deadline(), branch));
        self.entries.remove(&branch);
        Some(waiter)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn resend() -> Option<Resend> {
        Some(Resend { to: "192.0.2.1:5060".parse().unwrap(), bytes: Rc::from(&b"REGISTER"[..]) })
    }

    fn response(via: &str, status: u16, cseq: &str) -> Message<'static> {
        Message::parse_owned(
            format!(
                "SIP/2.0 {status} X\r\n{via}From: <sip:a@ims.example>;tag=t\r\nTo: <sip:a@ims.example>;tag=u\r\n\
                 Call-ID: c\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
            )
            .into_bytes(),
        )
        .unwrap()
    }

    fn via(branch: impl fmt::Display) -> String {
        format!("Via: SIP/2.0/UDP 192.0.2.9:5060;branch={branch}\r\n")
    }

    /// Runs the clock from deadline to deadline: times of transmissions, and of the end.
    fn run(table: &mut ClientTable<u8>) -> (Vec<u128>, Option<u128>) {
        let (mut sent, mut ended) = (Vec::new(), None);
        while let Some(now) = table.next_deadline() {
            while let Some(due) = table.due(now) {
                match due {
                    Due::Resend(_) => sent.push(now.as_millis()),
                    Due::TimedOut(_) => ended = Some(now.as_millis()),
                }
            }
        }
        (sent, ended)
    }

    #[test]
    fn timer_e_doubles_up_to_t2_and_timer_f_ends_it() {
        let mut table = ClientTable::new();
        let branch = table.branch();
        table.start(branch, b"REGISTER", resend(), 1, at(60_000), at(0));
        let (sent, ended) = run(&mut table);
        let expected = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(sent, expected, "eleven transmissions with the first");
        assert_eq!(ended, Some(32_000));
        assert!(table.is_empty());
    }

    #[test]
    fn a_shorter_deadline_and_a_reliable_transport() {
        let mut table = ClientTable::new();
        let branch = table.branch();
        table.start(branch, b"REGISTER", resend(), 1, at(2000), at(100));
        assert_eq!(run(&mut table), (vec![600, 1600], Some(2100)));
        let branch = table.branch();
        table.start(branch, b"REGISTER", None, 1, at(5000), at(0));
        assert_eq!(run(&mut table), (vec![], Some(5000)));
    }

    #[test]
    fn after_a_provisional_response_the_interval_is_t2() {
        let mut table = ClientTable::new();
        let branch = table.branch();
        table.start(branch, b"REGISTER", resend(), 1, TIMEOUT, at(0));
        assert_eq!(table.on_response(&response(&via(branch), 100, "1 REGISTER"), at(100)), Matched::Absorbed);
        let (sent, ended) = run(&mut table);
        assert_eq!(sent, [500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500]);
        assert_eq!(ended, Some(32_000));
    }

    #[test]
    fn one_final_response_and_its_repetitions_are_absorbed_for_t4() {
        let mut table = ClientTable::new();
        let branch = table.branch();
        table.start(branch, b"REGISTER", resend(), 7, TIMEOUT, at(0));
        let ok = response(&via(branch), 200, "1 REGISTER");
        assert_eq!(table.on_response(&ok, at(50)), Matched::Final(7));
        assert_eq!(table.on_response(&ok, at(60)), Matched::Absorbed);
        assert!(table.due(at(5049)).is_none() && !table.is_empty());
        assert!(table.due(at(5050)).is_none() && table.is_empty());
        assert_eq!(table.on_response(&ok, at(5051)), Matched::Stray);
    }

    #[test]
    fn only_branch_and_cseq_method_make_a_response_ours() {
        let mut table = ClientTable::new();
        let branch = table.branch();
        table.start(branch, b"REGISTER", resend(), 7, TIMEOUT, at(0));
        let other = table.branch();
        for stray in [
            response(&via(branch), 200, "1 MESSAGE"),
            response(&via(branch), 200, "1 register"),
            response(&via(other), 200, "1 REGISTER"),
            response(&via("z9hG4bK"), 200, "1 REGISTER"),
            response(&via("z9hG4bK+23456789abcdef0"), 200, "1 REGISTER"),
            response(&via(format!("{branch}0")), 200, "1 REGISTER"),
            response(&format!("{}{}", via(branch), via(other)), 200, "1 REGISTER"),
            response("", 200, "1 REGISTER"),
        ] {
            assert_eq!(table.on_response(&stray, at(10)), Matched::Stray, "{stray:?}");
        }
        table.relays_for(branch, 1);
        assert_eq!(table.on_response(&response(&via(branch), 200, "1 REGISTER"), at(9)), Matched::Stray);
        table.relays_for(branch, 0);
        assert_eq!(table.on_response(&response(&via(branch), 200, "1 REGISTER"), at(10)), Matched::Final(7));
    }

    #[test]
    fn a_lost_connection_fails_its_transactions_only() {
        let mut table = ClientTable::new();
        for waiter in [1, 2, 1] {
            let branch = table.branch();
            table.start(branch, b"REGISTER", None, waiter, TIMEOUT, at(0));
        }
        assert_eq!(table.fail(|waiter| *waiter == 1), [1, 1]);
        assert_eq!(table.len(), 1);
        assert_eq!(table.next_deadline(), Some(TIMEOUT));
    }

    #[test]
    fn branches_differ_and_carry_the_cookie() {
        let mut table = ClientTable::<()>::new();
        let branches: std::collections::HashSet<String> = (0..1000).map(|_| table.branch().to_string()).collect();
        assert_eq!(branches.len(), 1000);
        assert!(branches.iter().all(|branch| branch.len() == 23 && branch.starts_with("z9hG4bK")));
    }
}
