//! Guards before library functions of which one call can take long without an interrupt: what is too long for them is an
//! error. They keep the rules of [`super`].
#![allow(unsafe_code)]

use super::{desk, raise, text};
use crate::policy::lua::view::{Desk, Refused};
use mlua::ffi;
use std::ffi::{CStr, c_int};
use std::ptr;

/// Longest text that a library function which reads all of it is given, and longest pattern.
const LONGEST_TEXT: usize = 64 * 1024;
const LONGEST_PATTERN: usize = 256;
/// Most entries that are sorted or moved in one call.
const MOST_ENTRIES: usize = 16 * 1024;

type Check = unsafe fn(*mut ffi::lua_State) -> Option<(&'static str, usize)>;

/// Library functions whose one call can take long without an interrupt, and what they are asked before: the reason
/// and the bound that was passed.
const GUARDED: [(&CStr, &CStr, Check); 14] = [
    (c"string", c"find", pattern_is_short),
    (c"string", c"match", pattern_is_short),
    (c"string", c"gmatch", pattern_is_short),
    (c"string", c"gsub", pattern_is_short),
    (c"string", c"split", pattern_is_short),
    (c"string", c"upper", text_is_short),
    (c"string", c"lower", text_is_short),
    (c"string", c"reverse", text_is_short),
    (c"utf8", c"len", text_is_short),
    (c"utf8", c"offset", text_is_short),
    (c"utf8", c"codepoint", text_is_short),
    (c"utf8", c"codes", text_is_short),
    (c"table", c"sort", table_is_short),
    (c"table", c"move", move_is_short),
];

unsafe fn text_is_short(state: *mut ffi::lua_State) -> Option<(&'static str, usize)> {
    // SAFETY: the first argument is looked at only.
    let length = unsafe { text(state, 1) }.map_or(0, <[u8]>::len);
    (length > LONGEST_TEXT).then_some(("the text is longer than", LONGEST_TEXT))
}

unsafe fn pattern_is_short(state: *mut ffi::lua_State) -> Option<(&'static str, usize)> {
    // SAFETY: the first two arguments are looked at only.
    let (subject, pattern) = unsafe { (text_is_short(state), text(state, 2).map_or(0, <[u8]>::len)) };
    subject.or((pattern > LONGEST_PATTERN).then_some(("the pattern is longer than", LONGEST_PATTERN)))
}

unsafe fn table_is_short(state: *mut ffi::lua_State) -> Option<(&'static str, usize)> {
    // SAFETY: `lua_objlen` of a table is its raw length, and raises nothing.
    let length = unsafe { if ffi::lua_type(state, 1) == ffi::LUA_TTABLE { ffi::lua_objlen(state, 1) } else { 0 } };
    (length > MOST_ENTRIES).then_some(("the table has more entries than", MOST_ENTRIES))
}

unsafe fn move_is_short(state: *mut ffi::lua_State) -> Option<(&'static str, usize)> {
    // SAFETY: converts numbers only; what is none is 0, and the function itself refuses it.
    let count =
        unsafe { ffi::lua_tonumberx(state, 3, ptr::null_mut()) - ffi::lua_tonumberx(state, 2, ptr::null_mut()) };
    (count > MOST_ENTRIES as f64).then_some(("more entries to move than", MOST_ENTRIES))
}

/// Puts a guard before each of [`GUARDED`]. Called by [`super::install`] in protected mode; leaves nothing on the stack.
pub(super) unsafe fn install(state: *mut ffi::lua_State, desk: *const Desk) {
    for (number, (library, name, _)) in (0u8..).zip(GUARDED) {
        // SAFETY: protected mode; the stack is balanced. Upvalues: the desk, the number in the table above, and the
        // function that is guarded.
        unsafe {
            ffi::lua_getfield(state, ffi::LUA_GLOBALSINDEX, library.as_ptr());
            ffi::lua_pushlightuserdatatagged(state, desk.cast_mut().cast(), 0);
            ffi::lua_pushnumber(state, number.into());
            ffi::lua_getfield(state, -3, name.as_ptr());
            ffi::lua_pushcclosurek(state, guard, name.as_ptr(), 3, None);
            ffi::lua_setfield(state, -2, name.as_ptr());
            ffi::lua_settop(state, -2);
        }
    }
}

/// Checks the arguments and goes on in the function behind, with the same frame: that costs a few nanoseconds.
unsafe extern "C-unwind" fn guard(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: rules 1 and 2 of [`super`]. The functions behind are Luau's own; they have no upvalues and find their arguments where
    // they expect them.
    unsafe {
        let number = ffi::lua_tonumberx(state, ffi::lua_upvalueindex(2), ptr::null_mut()) as usize;
        if let Some((library, name, check)) = GUARDED.get(number)
            && let Some((why, bound)) = check(state)
        {
            let desk = desk(state);
            refuse_call(desk, library, name, why, bound);
            raise(state, desk);
        }
        match ffi::lua_tocfunction(state, ffi::lua_upvalueindex(3)) {
            Some(function) => function(state),
            None => 0,
        }
    }
}

fn refuse_call(desk: &Desk, library: &CStr, name: &CStr, why: &str, bound: usize) {
    let (library, name) = (library.to_string_lossy(), name.to_string_lossy());
    let _: Result<(), Refused> = desk.refuse(format_args!("{library}.{name}: {why} {bound}"));
}
