//! The hot path between Lua and Rust, on Luau's C functions: reading a field of the request, making a verdict, calling
//! a stage, the interrupt, and the guards of library functions. Called by [`super::vm`] only.
//!
//! mlua's closures cost 0.2 to 0.5 µs each and allocate; a policy reads a dozen fields. What can be safe is elsewhere:
//! [`Desk`] says what a field is, [`Constructor`] what a verdict is, [`super::deadline`] when the time is up.
//!
//! Every function here keeps four rules, and the comments at the blocks rest on them:
//!
//! 1. **An error of Lua unwinds** through these frames (Luau throws), so no value with `Drop` is alive where a function
//!    of the C interface may raise. Words of errors are written into [`Desk::scratch`] first.
//! 2. **The desk outlives the VM**: an `Rc` of it is in the VM's own application data, and its address is an upvalue of
//!    C closures only, which scripts cannot read.
//! 3. **The question is borrowed for the call**: [`Asked::during`] puts its address there and takes it away, and what is
//!    borrowed from it does not leave the C function that asked.
//! 4. **A VM belongs to its thread**: `Lua` is not `Send`, and no other thread touches its state.
#![allow(unsafe_code)]

mod guards;

use super::args::{Arg, Entries, MAX_LIST};
use super::deadline;
use super::ims::{Constructor, Made};
use super::view::{self, Desk, Field, Object, Refused, Returned};
use crate::policy::Question;
use mlua::{Function, Lua, Table, ffi};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::rc::Rc;

/// Luau's mark of our verdicts among all userdata; mlua uses none.
const VERDICT: c_int = 101;

/// Where the question at hand is while a stage is called.
#[derive(Default)]
pub(super) struct Asked(Cell<Option<NonNull<Question<'static>>>>);

impl Asked {
    /// Runs `call` while the functions of the VM see `question`.
    pub(super) fn during<T>(&self, question: &Question<'_>, call: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a Asked, Option<NonNull<Question<'static>>>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.0.set(self.1);
            }
        }
        // The lifetime is forgotten here and put right in `get`; the guard takes the address away before it ends.
        let before = self.0.replace(Some(NonNull::from(question).cast()));
        let _restore = Restore(self, before);
        call()
    }

    fn get(&self) -> Option<&Question<'_>> {
        // SAFETY: the address is there only while `during` runs further up the stack, and is that of a question
        // borrowed until after it; nobody writes to it. Rule 3.
        self.0.get().map(|question| unsafe { question.as_ref() })
    }
}

/// Puts the functions of this module into a VM: the fields of light userdata, the verdicts, guards, the interrupt.
/// `kept` holds the values of [`view::Kept`] by their numbers. Before the sandbox is closed.
pub(super) fn install(lua: &Lua, desk: &Rc<Desk>, kept: &Table) -> mlua::Result<Table> {
    lua.set_app_data(desk.clone()); // rule 2
    // SAFETY: `exec_raw` calls in protected mode, with the table at index 1 and room for a few values; every function
    // below leaves on the stack what its comment says.
    let ims = unsafe {
        lua.exec_raw::<Table>(kept.clone(), |state| {
            let desk = Rc::as_ptr(desk);
            closure(state, desk, header, c"header", |state| ffi::lua_pushvalue(state, 1));
            ffi::lua_rawseti(state, 1, view::Kept::Header as ffi::lua_Integer);
            metatable_of_handles(state, desk);
            metatable_of_verdicts(state);
            guards::install(state, desk);
            (*ffi::lua_callbacks(state)).interrupt = Some(interrupt);
            constructors(state, desk);
        })?
    };
    Ok(ims)
}

/// The function that asks a stage: it calls `stage` with the objects of the question at hand, and leaves what it
/// returned on the desk.
pub(super) fn asking(lua: &Lua, desk: &Rc<Desk>, stage: &Function) -> mlua::Result<Function> {
    // SAFETY: protected mode, the function at index 1; `closure` leaves one value, which is the result.
    unsafe {
        lua.exec_raw::<Function>(stage.clone(), |state| {
            closure(state, Rc::as_ptr(desk), ask, c"stage", |state| ffi::lua_pushvalue(state, 1));
            ffi::lua_replace(state, 1);
        })
    }
}

/// Pushes a C closure whose upvalues are the desk and what `more` pushes: one value.
unsafe fn closure(
    state: *mut ffi::lua_State,
    desk: *const Desk,
    function: ffi::lua_CFunction,
    name: &'static CStr,
    more: impl FnOnce(*mut ffi::lua_State),
) {
    // SAFETY: the caller runs in protected mode with room on the stack; `name` is static, as Luau wants it.
    unsafe {
        ffi::lua_pushlightuserdatatagged(state, desk.cast_mut().cast(), 0);
        more(state);
        ffi::lua_pushcclosurek(state, function, name.as_ptr(), 2, None);
    }
}

/// The desk of the closure that runs.
unsafe fn desk<'a>(state: *mut ffi::lua_State) -> &'a Desk {
    // SAFETY: every closure that calls this was made by `closure`, whose first upvalue is the desk; rule 2.
    unsafe { &*ffi::lua_tolightuserdatatagged(state, ffi::lua_upvalueindex(1), 0).cast::<Desk>() }
}

/// The octets of a string on the stack; None if the value is none. They live as long as something refers to the string.
unsafe fn text<'a>(state: *mut ffi::lua_State, index: c_int) -> Option<&'a [u8]> {
    let mut length = 0;
    // SAFETY: unlike `lua_tolstring` this converts nothing, and raises nothing; strings do not move.
    unsafe {
        let at = ffi::lua_tolstringatom(state, index, &mut length, ptr::null_mut());
        (!at.is_null()).then(|| std::slice::from_raw_parts(at.cast(), length))
    }
}

/// The ticket of a handle on the stack; 0, which is no call's, if the value is none.
unsafe fn ticket(state: *mut ffi::lua_State, index: c_int) -> usize {
    // SAFETY: reads the value only, and gives null for all but light userdata.
    unsafe { ffi::lua_tolightuserdatatagged(state, index, 0).addr() }
}

/// `file:line` of the innermost Lua function of the script that runs.
unsafe fn whereabouts(state: *mut ffi::lua_State, place: &mut String) {
    for level in 0..10 {
        // SAFETY: a `lua_Debug` is plain data; `lua_getinfo` fills what is asked for and raises nothing. The source's
        // name is in the record itself or in the function, which is on the call stack.
        unsafe {
            let mut frame = MaybeUninit::<ffi::lua_Debug>::zeroed().assume_init();
            if ffi::lua_getinfo(state, level, c"sl".as_ptr(), &mut frame) == 0 {
                return;
            }
            // What we lay before scripts ourselves is named with "=" and is no place of theirs.
            let ours = !frame.source.is_null() && *frame.source.cast::<u8>() == b'=';
            if frame.currentline > 0 && !frame.short_src.is_null() && !ours {
                let source = CStr::from_ptr(frame.short_src).to_string_lossy();
                place.push_str(&format!("{source}:{}", frame.currentline));
                return;
            }
        }
    }
}

/// Raises what is in the scratch, with the place in the script before it.
unsafe fn raise(state: *mut ffi::lua_State, desk: &Desk) -> ! {
    let (at, length) = located(state, desk);
    // SAFETY: rule 1: nothing here has `Drop`; the octets stay until the scratch is written again, which is not before
    // they have been copied.
    unsafe {
        ffi::lua_pushlstring_(state, at, length);
        ffi::lua_error(state)
    }
}

fn located(state: *mut ffi::lua_State, desk: &Desk) -> (*const c_char, usize) {
    let mut place = String::new();
    // SAFETY: called by `raise` only, with the state of the C function that runs.
    unsafe { whereabouts(state, &mut place) };
    let mut scratch = desk.scratch.borrow_mut();
    if !place.is_empty() {
        place.push_str(": ");
        scratch.splice(0..0, place.into_bytes());
    }
    (scratch.as_ptr().cast(), scratch.len())
}

/// Pushes a field, or raises.
unsafe fn give(state: *mut ffi::lua_State, desk: &Desk, field: Result<Field<'_>, Refused>) -> c_int {
    // SAFETY: rule 1: a `Field` has no `Drop`, and the borrow of the scratch has ended before its octets are pushed.
    // The closures that call this have the table of kept values as second upvalue.
    unsafe {
        match field {
            Ok(Field::Nil) => ffi::lua_pushnil(state),
            Ok(Field::Truth(truth)) => ffi::lua_pushboolean(state, c_int::from(truth)),
            Ok(Field::Number(number)) => ffi::lua_pushnumber(state, number),
            Ok(Field::Text(text)) => ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()),
            Ok(Field::Scratch) => {
                let (at, length) = scratch(desk);
                ffi::lua_pushlstring_(state, at, length);
            }
            Ok(Field::Object(object)) => push_handle(state, desk, object),
            Ok(Field::Kept(kept)) => {
                ffi::lua_rawgeti_(state, ffi::lua_upvalueindex(2), kept as c_int);
            }
            Err(Refused) => raise(state, desk),
        }
    }
    1
}

fn scratch(desk: &Desk) -> (*const c_char, usize) {
    let scratch = desk.scratch.borrow();
    (scratch.as_ptr().cast(), scratch.len())
}

unsafe fn push_handle(state: *mut ffi::lua_State, desk: &Desk, object: Object) {
    // SAFETY: the address is a number that nobody follows.
    unsafe { ffi::lua_pushlightuserdatatagged(state, ptr::without_provenance_mut::<c_void>(desk.ticket(object)), 0) }
}

/// `__index` of a handle: `req.impi`.
unsafe extern "C-unwind" fn index(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: rules 1 to 3; the key is on the stack until this returns.
    unsafe {
        let desk = desk(state);
        let field = desk.check(ticket(state, 1)).and_then(|object| match desk.question.get() {
            Some(question) => desk.field(question, object, text(state, 2)),
            None => Ok(Field::Nil),
        });
        give(state, desk, field)
    }
}

/// `req:header(name)`.
unsafe extern "C-unwind" fn header(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `index`.
    unsafe {
        let desk = desk(state);
        // Outside of a call the ticket is refused, whatever the question.
        let ticket = (ffi::lua_type(state, 1) == ffi::LUA_TLIGHTUSERDATA).then(|| ticket(state, 1));
        let field = match desk.question.get() {
            Some(question) => desk.header(question, ticket, text(state, 2)),
            None => desk.check(ticket.unwrap_or_default()).map(|_| Field::Nil),
        };
        give(state, desk, field)
    }
}

unsafe extern "C-unwind" fn name_of_handle(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: a static text is pushed; nothing has `Drop`.
    unsafe {
        let name = Object::of(ticket(state, 1)).name();
        ffi::lua_pushlstring_(state, name.as_ptr().cast(), name.len());
    }
    1
}

/// Gives all light userdata the fields of what they stand for. `kept` is at index 1; leaves nothing.
unsafe fn metatable_of_handles(state: *mut ffi::lua_State, desk: *const Desk) {
    // SAFETY: protected mode (`install`); the stack is balanced. Light userdata share one metatable, which is set
    // through any one of them.
    unsafe {
        ffi::lua_createtable(state, 0, 3);
        closure(state, desk, index, c"index", |state| ffi::lua_pushvalue(state, 1));
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        ffi::lua_pushcclosurek(state, name_of_handle, c"tostring".as_ptr(), 0, None);
        seal(state);
        ffi::lua_pushlightuserdatatagged(state, ptr::null_mut(), 0);
        ffi::lua_insert(state, -2);
        ffi::lua_setmetatable(state, -2);
        ffi::lua_settop(state, -2);
    }
}

/// Makes the function on top the `__tostring` of the metatable below, hides that and locks it.
unsafe fn seal(state: *mut ffi::lua_State) {
    // SAFETY: called with a table and a function on top, in protected mode.
    unsafe {
        ffi::lua_setfield(state, -2, c"__tostring".as_ptr());
        ffi::lua_pushboolean(state, 0);
        ffi::lua_setfield(state, -2, c"__metatable".as_ptr());
        ffi::lua_setreadonly(state, -1, 1);
    }
}

/// Tells the VM what our verdicts are: their metatable and their end. Leaves nothing.
unsafe fn metatable_of_verdicts(state: *mut ffi::lua_State) {
    // SAFETY: protected mode; `lua_setuserdatametatable` takes the table off the stack. Every block with this mark is
    // made by `construct` and holds what `drop_verdict` takes it for.
    unsafe {
        ffi::lua_setuserdatadtor(state, VERDICT, Some(drop_verdict));
        ffi::lua_createtable(state, 0, 2);
        ffi::lua_pushcclosurek(state, name_of_verdict, c"tostring".as_ptr(), 0, None);
        seal(state);
        ffi::lua_setuserdatametatable(state, VERDICT);
    }
}

/// The verdict on the stack; None if the value is none of ours.
unsafe fn verdict<'a>(state: *mut ffi::lua_State, index: c_int) -> Option<&'a Made> {
    // SAFETY: a block with our mark holds an `Option<Made>` from the moment it can be seen.
    unsafe { ffi::lua_touserdatatagged(state, index, VERDICT).cast::<Option<Made>>().as_ref()?.as_ref() }
}

unsafe extern "C" fn drop_verdict(_: *mut ffi::lua_State, block: *mut c_void) {
    // SAFETY: the collector calls this once for each block with our mark; dropping texts and lists does not panic.
    unsafe { ptr::drop_in_place(block.cast::<Option<Made>>()) }
}

unsafe extern "C-unwind" fn name_of_verdict(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `name_of_handle`.
    unsafe {
        let name = verdict(state, 1).map_or("no verdict", Made::made_by);
        ffi::lua_pushlstring_(state, name.as_ptr().cast(), name.len());
    }
    1
}

/// Leaves the table `ims`, locked.
unsafe fn constructors(state: *mut ffi::lua_State, desk: *const Desk) {
    // SAFETY: protected mode; the stack grows by the table.
    unsafe {
        ffi::lua_settop(state, 0);
        ffi::lua_createtable(state, 0, 16);
        for constructor in Constructor::all() {
            let name = constructor.name();
            ffi::lua_pushlstring_(state, name.as_ptr().cast(), name.len());
            closure(state, desk, construct, c"verdict", |state| {
                ffi::lua_pushnumber(state, constructor.number().into());
            });
            ffi::lua_rawset(state, -3);
        }
        ffi::lua_setreadonly(state, -1, 1);
    }
}

type Pair<'a> = (Arg<'a>, Arg<'a>);

/// Entries that the arguments of one constructor may have, nested ones too.
const POOL: usize = 12 + 2 * (MAX_LIST + 2);

/// `ims.forward{…}` and the rest.
unsafe extern "C-unwind" fn construct(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: rule 1: an `Arg` has no `Drop`, and `make` ends what it needs before it returns. The arguments stay on
    // the stack, so what is borrowed from them stays. The block is made before the verdict, since making it may raise,
    // and holds a valid `None` before anything else happens. Luau aligns blocks to 16 octets.
    unsafe {
        let desk = desk(state);
        let number = ffi::lua_tonumberx(state, ffi::lua_upvalueindex(2), ptr::null_mut()) as u8;
        ffi::lua_settop(state, 3);
        let mut pool = [const { MaybeUninit::<Pair<'_>>::uninit() }; POOL];
        let mut reader = Reader { state, free: &mut pool[..], weight: 0 };
        let arguments = [reader.read(1, 3, 0), reader.read(2, 3, 0), reader.read(3, 3, 0)];
        // What the verdict holds outside of the VM counts against the VM's memory: as much room is left unused behind it.
        let size = size_of::<Option<Made>>() + reader.weight;
        let block = ffi::lua_newuserdatataggedwithmetatable(state, size, VERDICT).cast::<Option<Made>>();
        block.write(None);
        match make(desk, number, arguments, &mut *block) {
            Ok(()) => 1,
            Err(Refused) => raise(state, desk),
        }
    }
}

fn make(desk: &Desk, number: u8, arguments: [Arg<'_>; 3], block: &mut Option<Made>) -> Result<(), Refused> {
    let Some(constructor) = Constructor::numbered(number) else { return desk.refuse(format_args!("no verdict")) };
    if let Some(capability) = constructor.capability()
        && !desk.unit.capabilities.grants(capability)
    {
        let (unit, name) = (&desk.unit.name, constructor.name());
        return desk
            .refuse(format_args!("{unit} is not granted ims.{name}; plugin.toml: [capabilities] {capability} = true"));
    }
    match constructor.make(arguments) {
        Ok(made) => {
            *block = Some(made);
            Ok(())
        }
        Err(why) => desk.refuse(format_args!("{}", super::failure::first_line(&why))),
    }
}

/// Reads values on the stack as arguments.
struct Reader<'a> {
    state: *mut ffi::lua_State,
    /// Room for entries.
    free: &'a mut [MaybeUninit<Pair<'a>>],
    /// Octets that a verdict made of what was read may take outside of the VM.
    weight: usize,
}

impl<'a> Reader<'a> {
    /// The value at `at`; tables are read by their own entries, two levels deep. `top` values are on the stack.
    ///
    /// # Safety
    /// Called in a C function, with the arguments below `at` left where they are as long as what is read is used: texts
    /// are held by the table that they were read from.
    unsafe fn read(&mut self, at: c_int, top: c_int, depth: u8) -> Arg<'a> {
        const ENTRY: usize = 3 * size_of::<usize>();
        let state = self.state;
        // SAFETY: looks at values only.
        unsafe {
            if let Some(text) = text(state, at) {
                self.weight += text.len() + ENTRY;
                return Arg::Text(text);
            }
            match ffi::lua_type(state, at) {
                ffi::LUA_TNIL | ffi::LUA_TNONE => Arg::Nil,
                ffi::LUA_TBOOLEAN => Arg::Truth(ffi::lua_toboolean(state, at) != 0),
                ffi::LUA_TNUMBER => Arg::Number(ffi::lua_tonumberx(state, at, ptr::null_mut())),
                ffi::LUA_TTABLE if depth < 2 => Arg::Table(self.read_table(at, top, depth)),
                other => Arg::Other(type_name(other)),
            }
        }
    }

    /// # Safety
    /// As for `read`; the value is a table.
    unsafe fn read_table(&mut self, at: c_int, top: c_int, depth: u8) -> Entries<'a> {
        let all = std::mem::take(&mut self.free);
        let most = if depth == 0 { 10 } else { MAX_LIST + 1 };
        let (mine, rest) = all.split_at_mut(most.min(all.len()));
        self.free = rest;
        let (mut length, mut iteration) = (0, 0);
        loop {
            // SAFETY: pushes a key and a value, or nothing at the end, and raises nothing; a C function has room for 20
            // values, and these are at most seven.
            unsafe {
                iteration = ffi::lua_rawiter(self.state, at, iteration);
                let slot = mine.get_mut(length);
                if iteration >= 0 {
                    if let Some(slot) = slot {
                        let key = self.read(top + 1, top + 2, 2);
                        slot.write((key, self.read(top + 2, top + 2, depth + 1)));
                        length += 1;
                        ffi::lua_settop(self.state, top);
                        continue;
                    }
                    ffi::lua_settop(self.state, top);
                }
                // SAFETY: the first `length` entries have been written.
                let pairs = std::slice::from_raw_parts(mine.as_ptr().cast::<Pair<'a>>(), length);
                return Entries { pairs, more: iteration >= 0 };
            }
        }
    }
}

fn type_name(kind: c_int) -> &'static str {
    match kind {
        ffi::LUA_TNIL => "nil",
        ffi::LUA_TBOOLEAN => "boolean",
        ffi::LUA_TNUMBER | ffi::LUA_TINTEGER => "number",
        ffi::LUA_TVECTOR => "vector",
        ffi::LUA_TSTRING => "string",
        ffi::LUA_TTABLE => "table",
        ffi::LUA_TFUNCTION => "function",
        ffi::LUA_TTHREAD => "thread",
        ffi::LUA_TBUFFER => "buffer",
        _ => "userdata",
    }
}

/// Calls the stage's function, the second upvalue, and takes over what it returns.
unsafe extern "C-unwind" fn ask(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: rule 1: while the function runs, nothing here has `Drop`; what is taken over afterwards calls no function
    // that may raise. A C function has room for 20 values.
    unsafe {
        let desk = desk(state);
        let Some(question) = desk.question.get() else { return 0 };
        ffi::lua_settop(state, 0);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        let mut count = 0;
        for object in view::arguments(question) {
            push_handle(state, desk, *object);
            count += 1;
        }
        ffi::lua_call(state, count, 1);
        let returned = match (ffi::lua_type(state, -1), verdict(state, -1)) {
            (ffi::LUA_TNIL, _) => Returned::Nothing,
            (_, Some(made)) => Returned::Made(made.clone()),
            (kind, None) => Returned::Other(type_name(kind)),
        };
        desk.returned.replace(returned);
    }
    0
}

/// Luau calls this at every call, return and loop edge, and in pattern matching.
unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, collecting: c_int) {
    // An error in the collector would leave it halfway.
    if collecting >= 0 {
        return;
    }
    // SAFETY: rule 1: `passed` has returned before the error is raised. The place is asked of the running state.
    unsafe {
        if deadline::passed(|place| whereabouts(state, place)) && ffi::lua_checkstack(state, 2) != 0 {
            const WORDS: &str = "the time is up";
            ffi::lua_pushlstring_(state, WORDS.as_ptr().cast(), WORDS.len());
            ffi::lua_error(state);
        }
    }
}
