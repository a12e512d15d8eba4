//! The order in which the members of a chain are asked (rank 1): no priority numbers, but `before` and `after` in the
//! manifests, then the operator's own list, then the name. The operator's policy comes last unless it is placed.
//!
//! One order holds for all stages; at each, those who declare it are asked.

use super::document::Place;
use super::finding::{Findings, did_you_mean};
use super::manifest::{Manifest, Neighbour, POLICY};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One member as far as its place is concerned.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    pub before: Vec<Neighbour>,
    pub after: Vec<Neighbour>,
    /// Of its manifest.
    pub file: Arc<str>,
}

/// The operator's list: names with their lines in the configuration.
pub type List = [(String, usize)];

/// The settled order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub names: Vec<String>,
    /// Where a manifest overrules the operator's list.
    pub notes: Vec<String>,
}

impl Member {
    /// The operator's policy, which says nothing of its own place.
    pub fn policy(file: impl Into<Arc<str>>) -> Member {
        Member { name: POLICY.to_owned(), before: Vec::new(), after: Vec::new(), file: file.into() }
    }
}

impl From<&Manifest> for Member {
    fn from(manifest: &Manifest) -> Self {
        Member {
            name: manifest.name.clone(),
            before: manifest.before.clone(),
            after: manifest.after.clone(),
            file: manifest.file.clone(),
        }
    }
}

/// `first` is asked before `second`, because `place` says so.
struct Edge {
    first: usize,
    second: usize,
    place: Place,
}

/// Settles the order. `config` is the file that the operator's list stands in.
pub fn resolve(members: &[Member], list: &List, config: &str) -> Result<Order, Findings> {
    let mut found = Findings::of(config);
    check_list(members, list, &mut found);
    let edges = edges(members);
    let rank = |index: usize| rank(members, index, list);
    let mut waiting: Vec<usize> = (0..members.len()).collect();
    let mut settled: Vec<usize> = Vec::with_capacity(members.len());
    while !waiting.is_empty() {
        let free = |index: &usize| !edges.iter().any(|e| e.second == *index && waiting.contains(&e.first));
        let Some(next) = waiting.iter().copied().filter(free).min_by_key(|index| rank(*index)) else {
            found.absorb(ring(members, &edges, &waiting));
            break;
        };
        waiting.retain(|index| *index != next);
        settled.push(next);
    }
    let notes = notes(members, &edges, &settled, list, config);
    let names = settled.iter().filter_map(|index| members.get(*index)).map(|member| member.name.clone()).collect();
    found.or(Some(Order { names, notes }))
}

fn check_list(members: &[Member], list: &List, found: &mut Findings) {
    for (at, (name, line)) in list.iter().enumerate() {
        if !members.iter().any(|member| member.name == *name) && name != POLICY {
            let hint = did_you_mean(name, members.iter().map(|member| member.name.as_str()));
            found.hinted(*line, format!("order: no plugin {name:?} is loaded"), hint);
        }
        if list.iter().take(at).any(|(earlier, _)| earlier == name) {
            found.at(*line, format!("order: {name:?} stands here twice"));
        }
    }
}

/// The demands of the manifests. One that names a plugin that is not loaded demands nothing.
fn edges(members: &[Member]) -> Vec<Edge> {
    let index: BTreeMap<&str, usize> = members.iter().enumerate().map(|(i, m)| (m.name.as_str(), i)).collect();
    let mut edges = Vec::new();
    for (own, member) in members.iter().enumerate() {
        let other = |n: &Neighbour| index.get(n.name.as_str()).copied().filter(|other| *other != own);
        let place = |n: &Neighbour| Place { file: member.file.clone(), line: n.line };
        let before = member.before.iter().filter_map(|n| Some(Edge { first: own, second: other(n)?, place: place(n) }));
        let after = member.after.iter().filter_map(|n| Some(Edge { first: other(n)?, second: own, place: place(n) }));
        edges.extend(before.chain(after));
    }
    edges
}

/// Who goes first among those that no manifest orders.
fn rank<'m>(members: &'m [Member], index: usize, list: &List) -> (bool, usize, &'m str) {
    let name = members.get(index).map_or("", |member| member.name.as_str());
    let listed = list.iter().position(|(listed, _)| listed == name);
    (name == POLICY && listed.is_none(), listed.unwrap_or(usize::MAX), name)
}

/// Names a ring among those that wait for each other.
fn ring(members: &[Member], edges: &[Edge], waiting: &[usize]) -> Findings {
    // Every one of them waits for another of them, so going from each to one that it waits for must come round.
    let waits_for = |index: usize| edges.iter().find(|e| e.second == index && waiting.contains(&e.first));
    let mut path: Vec<&Edge> = Vec::new();
    let mut at = waiting.first().copied().unwrap_or_default();
    while let Some(edge) = waits_for(at) {
        if let Some(start) = path.iter().position(|earlier| earlier.second == edge.second) {
            path.drain(..start);
            break;
        }
        path.push(edge);
        at = edge.first;
    }
    path.reverse();
    let name = |index: usize| members.get(index).map_or("", |member| member.name.as_str());
    let says = |edge: &&Edge| format!("{} before {} ({})", name(edge.first), name(edge.second), edge.place);
    let all: Vec<String> = path.iter().map(says).collect();
    let place = path.first().map(|edge| edge.place.clone());
    let mut found = Findings::of(place.as_ref().map_or_else(|| Arc::from(""), |p| p.file.clone()));
    let reason = format!("the order runs in a ring: {}", all.join(", "));
    found.hinted(place.map_or(0, |p| p.line), reason, "take one of these before/after out");
    found
}

/// Pairs of the operator's list that stand the other way round in the order, each with the demand that did it.
fn notes(members: &[Member], edges: &[Edge], settled: &[usize], list: &List, config: &str) -> Vec<String> {
    let name = |index: usize| members.get(index).map_or("", |member| member.name.as_str());
    let listed = |index: usize| list.iter().position(|(listed, _)| listed == name(index));
    let turned = edges.iter().filter(|e| matches!((listed(e.first), listed(e.second)), (Some(a), Some(b)) if a > b));
    turned
        .filter(|e| settled.contains(&e.first))
        .map(|e| {
            let line = listed(e.second).and_then(|at| list.get(at)).map_or(0, |(_, line)| *line);
            let (first, second) = (name(e.first), name(e.second));
            format!("{config}:{line}: order: {second} stands before {first} here, but {} wants it after", e.place)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, before: &[&str], after: &[&str]) -> Member {
        let neighbour = |(i, n): (usize, &&str)| Neighbour { name: (*n).to_owned(), line: 5 + i };
        Member {
            name: name.to_owned(),
            before: before.iter().enumerate().map(neighbour).collect(),
            after: after.iter().enumerate().map(neighbour).collect(),
            file: format!("{name}/plugin.toml").into(),
        }
    }

    fn list(names: &[&str]) -> Vec<(String, usize)> {
        names.iter().enumerate().map(|(i, n)| ((*n).to_owned(), i + 3)).collect()
    }

    fn order(members: &[Member], names: &[&str]) -> String {
        resolve(members, &list(names), "imscript.toml").unwrap().names.join(" ")
    }

    fn fault(members: &[Member], names: &[&str]) -> String {
        resolve(members, &list(names), "imscript.toml").unwrap_err().to_string()
    }

    #[test]
    fn by_name_and_the_policy_last() {
        let members =
            [Member::policy("policy.lua"), member("b", &[], &[]), member("a", &[], &[]), member("z", &[], &[])];
        assert_eq!(order(&members, &[]), "a b z policy");
    }

    #[test]
    fn the_operators_list_breaks_ties_and_may_place_the_policy() {
        let members =
            [member("a", &[], &[]), member("b", &[], &[]), member("c", &[], &[]), Member::policy("policy.lua")];
        assert_eq!(order(&members, &["c", "a"]), "c a b policy");
        assert_eq!(order(&members, &["c", "policy", "a"]), "c policy a b");
    }

    #[test]
    fn manifests_come_before_the_list_and_that_is_noted() {
        let members = [member("a", &[], &["b"]), member("b", &[], &[]), Member::policy("policy.lua")];
        assert_eq!(order(&members, &[]), "b a policy");
        let settled = resolve(&members, &list(&["a", "b"]), "imscript.toml").unwrap();
        assert_eq!(settled.names, ["b", "a", "policy"]);
        assert_eq!(
            settled.notes,
            ["imscript.toml:3: order: a stands before b here, but a/plugin.toml:5 wants it after"]
        );
    }

    #[test]
    fn a_plugin_may_stand_after_the_policy_or_pull_it_forward() {
        let members = [member("a", &[], &["policy"]), member("b", &[], &[]), Member::policy("policy.lua")];
        assert_eq!(order(&members, &[]), "b policy a");
        let members = [member("a", &["policy"], &["b"]), member("b", &[], &[]), Member::policy("policy.lua")];
        assert_eq!(order(&members, &[]), "b a policy");
    }

    #[test]
    fn who_is_not_loaded_demands_nothing() {
        let members = [member("a", &["ghost"], &["spectre"]), member("b", &["a"], &[])];
        assert_eq!(order(&members, &[]), "b a");
        assert_eq!(order(&[member("a", &[], &["policy"])], &["policy"]), "a");
        assert_eq!(order(&[], &[]), "");
    }

    #[test]
    fn a_ring_is_named_with_its_lines() {
        let members = [
            member("a", &["b"], &[]),
            member("b", &["c"], &[]),
            member("c", &["a"], &[]),
            member("d", &[], &["a"]),
            member("e", &[], &[]),
        ];
        assert_eq!(
            fault(&members, &[]),
            "a/plugin.toml:5: the order runs in a ring: a before b (a/plugin.toml:5), b before c (b/plugin.toml:5), \
             c before a (c/plugin.toml:5) (take one of these before/after out)"
        );
        let two = [member("x", &["y"], &[]), member("y", &["x"], &[])];
        assert!(fault(&two, &[]).contains("x before y (x/plugin.toml:5), y before x (y/plugin.toml:5)"));
        let with_policy = [member("x", &["policy"], &["policy"]), Member::policy("p.lua")];
        let ring = fault(&with_policy, &[]);
        assert!(ring.contains("policy before x (x/plugin.toml:5)") && ring.contains("x before policy"), "{ring}");
    }

    #[test]
    fn the_operators_list_is_checked() {
        let members = [member("verify-cache", &[], &[]), member("b", &[], &[])];
        assert_eq!(
            fault(&members, &["verify-cach", "b", "b"]),
            "imscript.toml:3: order: no plugin \"verify-cach\" is loaded (did you mean \"verify-cache\"?)\n\
             imscript.toml:5: order: \"b\" stands here twice"
        );
    }

    #[test]
    fn many_members_settle_in_one_and_the_same_order() {
        let mut members: Vec<Member> = (0..60).map(|i| member(&format!("p{i:02}"), &[], &[])).collect();
        for (i, member) in members.iter_mut().enumerate().skip(1) {
            member.before = vec![Neighbour { name: format!("p{:02}", i - 1), line: 1 }];
        }
        let falling: Vec<String> = (0..60).rev().map(|i| format!("p{i:02}")).collect();
        assert_eq!(order(&members, &[]), falling.join(" "));
        members.reverse();
        assert_eq!(order(&members, &[]), falling.join(" "));
    }
}
