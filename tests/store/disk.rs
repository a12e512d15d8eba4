//! A disk that fails: a file system of SQLite's (a VFS) that hands everything to the real one, keeps apart what was synced
//! and what was not, and does wrong when it is told to. [`World::crash`] makes the folder as it may be after the power was
//! cut: what was synced, and of the rest whole writes, torn ones or none.
#![allow(unsafe_code)] // SQLite calls through C function pointers; each block says why it may

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub(crate) const NAME: &str = "imscript-faulty";
/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of a write arrives.
    WriteError,
    /// A part of a write arrives, then there is no room.
    ShortWrite,
    /// There is no room, for as long as it lasts.
    Full,
    /// A sync fails, and what it was to sync never arrives although it can still be read.
    SyncError,
    /// The file cannot be cut.
    TruncateError,
    ReadError,
}

pub(crate) const FAULTS: [Fault; 6] =
    [Fault::WriteError, Fault::ShortWrite, Fault::Full, Fault::SyncError, Fault::TruncateError, Fault::ReadError];

enum Pending {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Default)]
struct Disk {
    synced: Vec<u8>,
    pending: Vec<Pending>,
}

struct Inside {
    random: Random,
    fault: Option<Fault>,
    files: HashMap<PathBuf, Disk>,
    off: bool,
}

/// The disk of one folder.
pub(crate) struct World(Mutex<Inside>);

static WORLDS: Mutex<Option<HashMap<PathBuf, Arc<World>>>> = Mutex::new(None);

impl World {
    /// From now on files in `dir` that are opened through [`NAME`] lie on it.
    pub(crate) fn of(dir: &Path, seed: u64) -> Arc<World> {
        register();
        let inside = Inside { random: Random(seed), fault: None, files: HashMap::new(), off: false };
        let world = Arc::new(World(Mutex::new(inside)));
        let mut worlds = WORLDS.lock().unwrap();
        worlds.get_or_insert_default().insert(dir.canonicalize().unwrap(), world.clone());
        world
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of three operations that it concerns fails, until it is None again.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.inside().fault = fault;
    }

    /// The power is cut: nothing more is written, and `into` gets what may have been written before. `power`: else only
    /// the process has died, and what it wrote is there.
    pub(crate) fn crash(&self, power: bool, into: &Path) {
        let mut inside = self.inside();
        inside.off = true;
        let Inside { random, files, .. } = &mut *inside;
        let mut names: Vec<_> = files.keys().cloned().collect();
        names.sort();
        for name in names {
            let disk = files.remove(&name).unwrap();
            let mut octets = disk.synced;
            for pending in disk.pending {
                let luck = if power { random.below(4) } else { 0 };
                match (pending, luck) {
                    (Pending::Write(at, data), 0) => write(&mut octets, at, &data),
                    (Pending::Write(at, data), 1) => {
                        // Some of its sectors, in any order.
                        for (n, sector) in data.chunks(SECTOR).enumerate() {
                            if random.below(2) == 0 {
                                write(&mut octets, at + n * SECTOR, sector);
                            }
                        }
                    }
                    (Pending::Cut(to), 0) => octets.resize(to, 0),
                    _ => {}
                }
            }
            std::fs::write(into.join(name.file_name().unwrap()), octets).unwrap();
        }
    }

    fn hits(&self, faults: &[Fault]) -> Option<Fault> {
        let mut inside = self.inside();
        let fault = inside.fault.filter(|fault| faults.contains(fault))?;
        (fault == Fault::Full || inside.random.below(3) == 0).then_some(fault)
    }
}

fn write(octets: &mut Vec<u8>, at: usize, data: &[u8]) {
    if octets.len() < at + data.len() {
        octets.resize(at + data.len(), 0);
    }
    octets[at..at + data.len()].copy_from_slice(data);
}

/// What SQLite has for an open file; the real VFS's own follows in the same piece of memory.
#[repr(C)]
struct File {
    base: sqlite3_file,
    state: *mut State,
}

struct State {
    world: Option<Arc<World>>,
    name: PathBuf,
}

struct Vfs(*mut sqlite3_vfs);

// SAFETY: the pointer is to the operating system's VFS, which SQLite itself uses from all threads.
unsafe impl Send for Vfs {}
// SAFETY: as above; it is never written through.
unsafe impl Sync for Vfs {}

static REAL: OnceLock<Vfs> = OnceLock::new();

fn register() {
    REAL.get_or_init(|| {
        // SAFETY: a null name asks for the default VFS; the pointer that comes back is valid as long as the process. What is
        // registered is a copy of it which is never freed, with a name that ends with 0, and files of both sizes together.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null() && std::mem::size_of::<File>().is_multiple_of(8));
            let mut copy = std::ptr::read(real);
            copy.pNext = std::ptr::null_mut();
            copy.zName = c"imscript-faulty".as_ptr();
            copy.szOsFile = (*real).szOsFile + std::mem::size_of::<File>() as c_int;
            copy.xOpen = Some(open);
            copy.xDelete = Some(delete);
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(copy)), 0), ffi::SQLITE_OK);
            Vfs(real)
        }
    });
}

fn world_of(name: &Path) -> Option<Arc<World>> {
    let dir = name.parent()?.canonicalize().ok()?;
    WORLDS.lock().unwrap().as_ref()?.get(&dir).cloned()
}

/// SAFETY of the caller: `name` is null or text that ends with 0.
unsafe fn path(name: *const c_char) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: not null, so it ends with 0, as SQLite's names do.
    PathBuf::from(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let Some(real) = REAL.get() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: `file` is memory of szOsFile octets: a `File`, and behind it room for the real one. The real VFS is asked with
    // its own pointer and that room. `pMethods` is set before anything can fail, null unless the file is open.
    unsafe {
        let mine = file.cast::<File>();
        (*mine).base.pMethods = std::ptr::null();
        let result = (*real.0).xOpen.unwrap()(real.0, name, inner(file), flags, out);
        if result != ffi::SQLITE_OK {
            return result;
        }
        let name = path(name);
        let world = world_of(&name);
        if let Some(world) = &world {
            // What is there before its first use here is on disk.
            let there = || Disk { synced: std::fs::read(&name).unwrap_or_default(), pending: Vec::new() };
            world.inside().files.entry(name.clone()).or_insert_with(there);
        }
        (*mine).state = Box::into_raw(Box::new(State { world, name }));
        (*mine).base.pMethods = &METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    let Some(real) = REAL.get() else { return ffi::SQLITE_IOERR_DELETE };
    // SAFETY: SQLite's own arguments go on to the real VFS, with its pointer.
    unsafe {
        let name_ = path(name);
        if let Some(world) = world_of(&name_) {
            let mut inside = world.inside();
            if inside.off {
                return ffi::SQLITE_IOERR_DELETE;
            }
            inside.files.remove(&name_);
        }
        (*real.0).xDelete.unwrap()(real.0, name, sync)
    }
}

/// The real VFS's file.
fn inner(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // `wrapping_add`: it stays within the memory that SQLite made for both, but no claim of that is needed here.
    file.cast::<u8>().wrapping_add(std::mem::size_of::<File>()).cast()
}

/// Calls the same method of the real file.
macro_rules! pass {
    ($method:ident, $file:expr $(, $argument:expr)*) => {
        // SAFETY: the file is open, so the real one behind it is as well and has its methods; arguments are SQLite's own.
        unsafe { (*(*inner($file)).pMethods).$method.unwrap()(inner($file) $(, $argument)*) }
    };
}

fn state<'a>(file: *mut sqlite3_file) -> &'a State {
    // SAFETY: SQLite calls methods of open files only; `open` has set the state, `close` frees it last, and only what has a
    // lock of its own is changed in it.
    unsafe { &*(*file.cast::<File>()).state }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let result = pass!(xClose, file);
    // SAFETY: made by `Box::into_raw` in `open`; SQLite closes a file once.
    unsafe { drop(Box::from_raw((*file.cast::<File>()).state)) };
    result
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, length: c_int, at: i64) -> c_int {
    if let Some(world) = &state(file).world
        && world.hits(&[Fault::ReadError]).is_some()
    {
        return ffi::SQLITE_IOERR_READ;
    }
    pass!(xRead, file, into, length, at)
}

unsafe extern "C" fn write_(file: *mut sqlite3_file, data: *const c_void, length: c_int, at: i64) -> c_int {
    let State { world, name } = state(file);
    let Some(world) = world else { return pass!(xWrite, file, data, length, at) };
    if world.inside().off {
        return ffi::SQLITE_IOERR_WRITE;
    }
    let fault = world.hits(&[Fault::WriteError, Fault::ShortWrite, Fault::Full]);
    let length = match fault {
        Some(Fault::ShortWrite) => length / 2,
        Some(_) => 0,
        None => length,
    };
    if length > 0 {
        // SAFETY: SQLite gives at least as many octets as it says, and more than 0 here.
        let octets = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length as usize) }.to_vec();
        let result = pass!(xWrite, file, data, length, at);
        if result != ffi::SQLITE_OK {
            return result;
        }
        let mut inside = world.inside();
        inside.files.entry(name.clone()).or_default().pending.push(Pending::Write(at as usize, octets));
    }
    match fault {
        None => ffi::SQLITE_OK,
        Some(Fault::WriteError) => ffi::SQLITE_IOERR_WRITE,
        Some(_) => ffi::SQLITE_FULL,
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    let State { world, name } = state(file);
    let Some(world) = world else { return pass!(xTruncate, file, size) };
    if world.inside().off || world.hits(&[Fault::TruncateError]).is_some() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    world.inside().files.entry(name.clone()).or_default().pending.push(Pending::Cut(size as usize));
    pass!(xTruncate, file, size)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    let State { world, name } = state(file);
    let Some(world) = world else { return ffi::SQLITE_OK };
    let failed = world.hits(&[Fault::SyncError]).is_some();
    let mut inside = world.inside();
    if inside.off {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    let disk = inside.files.entry(name.clone()).or_default();
    let pending = std::mem::take(&mut disk.pending);
    if failed {
        return ffi::SQLITE_IOERR_FSYNC; // and the kernel believes that all is written
    }
    for pending in pending {
        match pending {
            Pending::Write(at, data) => write(&mut disk.synced, at, &data),
            Pending::Cut(to) => disk.synced.resize(to, 0),
        }
    }
    // The real disk need not be waited for.
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    pass!(xFileSize, file, size)
}
unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass!(xLock, file, level)
}
unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass!(xUnlock, file, level)
}
unsafe extern "C" fn reserved(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    pass!(xCheckReservedLock, file, out)
}
unsafe extern "C" fn control(file: *mut sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    match what {
        // Would write behind our back.
        ffi::SQLITE_FCNTL_SIZE_HINT | ffi::SQLITE_FCNTL_CHUNK_SIZE => ffi::SQLITE_OK,
        _ => pass!(xFileControl, file, what, argument),
    }
}
unsafe extern "C" fn sector_size(_: *mut sqlite3_file) -> c_int {
    SECTOR as c_int
}
/// What the real one says as well: a write that tears leaves the octets around it alone. Nothing more.
unsafe extern "C" fn characteristics(_: *mut sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}
unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    pass!(xShmMap, file, page, size, extend, out)
}
unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    pass!(xShmLock, file, offset, n, flags)
}
unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    pass!(xShmBarrier, file)
}
unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    pass!(xShmUnmap, file, delete)
}

/// Version 2: without memory mapping, so that every octet comes by.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write_),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
