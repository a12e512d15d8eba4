//! Each way in which people and programs change a file, seen by events and by looking.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use tempfile::TempDir;

/// By events alone (the poll is an hour away), or by the poll alone.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Events,
    Poll,
}

const BOTH: [By; 2] = [By::Events, By::Poll];
/// Nothing here takes long, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    dir: TempDir,
    watch: Option<Watch>,
    told: Receiver<Digest>,
    roots: Vec<PathBuf>,
    by: By,
}

impl Bench {
    /// `make` puts the first contents into a new folder and says what is watched.
    fn new(by: By, make: impl FnOnce(&Path) -> Vec<PathBuf>) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let roots = make(dir.path());
        let (teller, told) = mpsc::channel();
        let ms = Duration::from_millis;
        let timing =
            Timing { poll: if by == By::Poll { ms(5) } else { ms(3_600_000) }, quiet: ms(15), at_most: ms(200) };
        let known = digest(&roots);
        let watch = Watch::start_with(roots.clone(), known, timing, by == By::Events, move |digest| {
            let _ = teller.send(digest);
        })
        .unwrap();
        let bench = Bench { dir, watch: Some(watch), told, roots, by };
        bench.ready();
        bench
    }

    /// Until the folders are watched.
    fn ready(&self) {
        let signs = &self.watch.as_ref().unwrap().signs;
        let end = Instant::now() + PATIENCE;
        while self.by == By::Events && signs.lock().names.is_empty() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The change that `act` makes is told, and the contents told last are those that are there now.
    fn tells(&self, what: &str, act: impl FnOnce()) {
        act();
        let now = digest(&self.roots);
        let end = Instant::now() + PATIENCE;
        loop {
            match self.told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(told) if told == now => return,
                Ok(_) => {} // between two steps of a slow change
                Err(why) => panic!("{what} was not seen by {:?}: {why}", self.by),
            }
        }
    }

    /// Nothing is told of `act`: what is told next is a change that comes after it.
    fn keeps_quiet(&self, what: &str, act: impl FnOnce(), then: impl FnOnce()) {
        act();
        assert_eq!(self.told.recv_timeout(Duration::from_millis(60)), Err(RecvTimeoutError::Timeout), "{what}");
        self.tells("the change after it", then);
    }
}

fn one_file(dir: &Path) -> Vec<PathBuf> {
    fs::write(dir.join("policy.lua"), "return {}").unwrap();
    vec![dir.join("policy.lua")]
}

/// Writes another file and puts it in the place of the first.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_file_written_in_place() {
    for by in BOTH {
        let bench = Bench::new(by, one_file);
        let path = bench.path("policy.lua");
        bench.tells("writing in place", || fs::write(&path, "return { 1 }").unwrap());
        bench.tells("writing again", || fs::write(&path, "return { 2 }").unwrap());
    }
}

#[test]
fn a_file_replaced_by_renaming_again_and_again() {
    for by in BOTH {
        let bench = Bench::new(by, one_file);
        for n in 0..3 {
            bench.tells("rename and replace", || replace(&bench.path("policy.lua"), &format!("return {{ {n} }}")));
        }
        // And written in place after that: it is another inode.
        bench.tells("in place", || fs::write(bench.path("policy.lua"), "return nil").unwrap());
    }
}

#[test]
fn a_file_deleted_and_made_anew() {
    for by in BOTH {
        let bench = Bench::new(by, one_file);
        let path = bench.path("policy.lua");
        bench.tells("deletion", || fs::remove_file(&path).unwrap());
        bench.tells("making it anew", || fs::write(&path, "return { 1 }").unwrap());
        bench.tells("and changing it", || fs::write(&path, "return { 2 }").unwrap());
    }
}

#[test]
fn a_folder_deleted_moved_and_made_anew() {
    for by in BOTH {
        let bench = Bench::new(by, |dir| {
            fs::create_dir(dir.join("etc")).unwrap();
            one_file(&dir.join("etc"))
        });
        let (etc, path) = (bench.path("etc"), bench.path("etc/policy.lua"));
        bench.tells("deletion of the folder", || fs::remove_dir_all(&etc).unwrap());
        bench.tells("a new folder", || {
            fs::create_dir(&etc).unwrap();
            fs::write(&path, "return { 1 }").unwrap();
        });
        bench.tells("a change in it", || fs::write(&path, "return { 2 }").unwrap());
        bench.tells("another folder in its place", || {
            fs::create_dir(bench.path("next")).unwrap();
            fs::write(bench.path("next/policy.lua"), "return { 3 }").unwrap();
            fs::rename(&etc, bench.path("old")).unwrap();
            fs::rename(bench.path("next"), &etc).unwrap();
        });
        bench.tells("a change in that one", || fs::write(&path, "return { 4 }").unwrap());
    }
}

#[test]
fn the_swap_of_a_link_as_config_maps_do_it() {
    for by in BOTH {
        let bench = Bench::new(by, |dir| {
            fs::create_dir(dir.join("..v1")).unwrap();
            fs::write(dir.join("..v1/policy.lua"), "return {}").unwrap();
            symlink("..v1", dir.join("..data")).unwrap();
            symlink("..data/policy.lua", dir.join("policy.lua")).unwrap();
            vec![dir.join("policy.lua")]
        });
        for n in 2..5 {
            bench.tells("the swap of ..data", || {
                let version = format!("..v{n}");
                fs::create_dir(bench.path(&version)).unwrap();
                fs::write(bench.path(&version).join("policy.lua"), format!("return {{ {n} }}")).unwrap();
                symlink(&version, bench.path("..data_tmp")).unwrap();
                fs::rename(bench.path("..data_tmp"), bench.path("..data")).unwrap();
                fs::remove_dir_all(bench.path(&format!("..v{}", n - 1))).unwrap();
            });
        }
    }
}

#[test]
fn a_link_to_a_release_elsewhere_its_target_and_its_swap() {
    for by in BOTH {
        let elsewhere = tempfile::tempdir().unwrap();
        for release in ["41", "42"] {
            fs::create_dir(elsewhere.path().join(release)).unwrap();
            fs::write(elsewhere.path().join(release).join("p.lua"), release).unwrap();
        }
        let bench = Bench::new(by, |dir| {
            symlink(elsewhere.path().join("41"), dir.join("current")).unwrap();
            vec![dir.join("current/p.lua")]
        });
        bench.tells("a change at the target", || fs::write(elsewhere.path().join("41/p.lua"), "41a").unwrap());
        bench.tells("the swap of the link", || {
            symlink(elsewhere.path().join("42"), bench.path("next")).unwrap();
            fs::rename(bench.path("next"), bench.path("current")).unwrap();
        });
        bench.tells("a change at the new target", || fs::write(elsewhere.path().join("42/p.lua"), "42a").unwrap());
    }
}

#[test]
fn plugins_added_changed_renamed_and_removed() {
    for by in BOTH {
        let bench = Bench::new(by, |dir| {
            fs::create_dir_all(dir.join("plugins/a/tests")).unwrap();
            fs::write(dir.join("plugins/a/main.lua"), "return {}").unwrap();
            vec![dir.join("plugins")]
        });
        let path = |name: &str| bench.path("plugins").join(name);
        bench.tells("a new plugin", || {
            fs::create_dir(path("b")).unwrap();
            fs::write(path("b/main.lua"), "return {}").unwrap();
        });
        bench.tells("a change in it", || fs::write(path("b/main.lua"), "return { 1 }").unwrap());
        bench.tells("a new test", || fs::write(path("a/tests/a_test.lua"), "test()").unwrap());
        bench.tells("a plugin's new name", || fs::rename(path("b"), path("c")).unwrap());
        bench.tells("its removal", || fs::remove_dir_all(path("c")).unwrap());
        bench.keeps_quiet(
            "what editors leave beside",
            || {
                fs::write(path("a/.main.lua.swp"), "x").unwrap();
                fs::write(path("a/main.lua~"), "x").unwrap();
                fs::write(path("a/#main.lua#"), "x").unwrap();
                fs::write(path("a/README.md"), "x").unwrap();
            },
            || fs::write(path("a/plugin.toml"), "api = 1").unwrap(),
        );
    }
}

#[test]
fn a_folder_that_comes_later() {
    // Several times by events: whether a folder is watched before something comes into it is a matter of luck.
    for by in [[By::Events; 20].as_slice(), &BOTH].concat() {
        let bench = Bench::new(by, |dir| vec![dir.join("not/there/plugins")]);
        bench.tells("its coming", || {
            fs::create_dir_all(bench.path("not/there/plugins/a")).unwrap();
            fs::write(bench.path("not/there/plugins/a/main.lua"), "return {}").unwrap();
        });
    }
}

#[test]
fn the_same_contents_are_no_change() {
    for by in BOTH {
        let bench = Bench::new(by, one_file);
        let path = bench.path("policy.lua");
        bench.keeps_quiet(
            "the same contents, another time and inode",
            || {
                fs::write(&path, "return {}").unwrap();
                replace(&path, "return {}");
            },
            || fs::write(&path, "return { 1 }").unwrap(),
        );
    }
}

#[test]
fn what_changed_before_the_watch_began_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let roots = one_file(dir.path());
    let known = digest(&roots);
    fs::write(&roots[0], "return { 1 }").unwrap();
    let (teller, told) = mpsc::channel();
    let _watch =
        Watch::start(roots.clone(), known, Timing::default(), move |digest| teller.send(digest).unwrap_or_default())
            .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(digest(&roots)));
}

#[test]
fn links_that_go_round_and_folders_without_end_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    symlink(".", dir.path().join("a")).unwrap();
    symlink(".", dir.path().join("b")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let before = Instant::now();
    digest(&[dir.path().to_owned()]);
    digest(&[dir.path().join("loop")]);
    assert!(before.elapsed() < PATIENCE);
}

#[test]
fn watches_that_run_out_leave_the_poll() {
    let error = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
    assert!(is_limit(&error));
    assert!(is_limit(&notify::Error::io(std::io::Error::from_raw_os_error(24))));
    assert!(!is_limit(&notify::Error::path_not_found()));
    let signs = Signs::default();
    signs.take(Err(error));
    assert!(signs.lock().limited && signs.lock().touched);
}
