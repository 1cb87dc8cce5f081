//! What HNS, Windows' service for container networks, says of them: by `computenetwork.dll` (HCN version 2, since Windows
//! Server 2019), and where that is missing by `vmcompute.dll`. Neither is there where nobody has switched containers on.
//!
//! Signatures are Microsoft's (`ComputeNetwork.h`); those of `HNSCall`, which has no header, are as hcsshim calls it. Not yet
//! run on the real thing: the tests have functions of their own in the libraries' places.
#![expect(unsafe_code, reason = "libraries that may be missing are called by hand")]

use std::{ffi::c_void, io, ptr::null_mut};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use windows_sys::{
    Win32::System::Com::CoTaskMemFree,
    core::{GUID, HRESULT, PCWSTR, PWSTR},
};

use crate::windows::{
    library::Library,
    memory::{text, wide},
};

/// All networks, in the second version of the schema.
const ALL: &str = r#"{"SchemaVersion":{"Major":2,"Minor":0}}"#;

type Enumerate = unsafe extern "system" fn(PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
type Open = unsafe extern "system" fn(*const GUID, *mut *mut c_void, *mut PWSTR) -> HRESULT;
type Query = unsafe extern "system" fn(*const c_void, PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
type Close = unsafe extern "system" fn(*const c_void) -> HRESULT;
type Call = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, *mut PWSTR) -> HRESULT;

/// Documents of HNS, one for each network, in the schema of the library that is there. May take seconds.
///
/// # Errors
/// When neither library is there, or HNS does not answer.
pub(crate) fn container_networks() -> io::Result<Vec<String>> {
    match Second::load() {
        Ok(library) => library.networks(),
        Err(missing) => match First::load() {
            Ok(library) => library.networks(),
            // Every Windows that matters has the second one, or neither.
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("this Windows has no HNS: {missing}")))
            }
        },
    }
}

/// HCN version 2.
struct Second {
    enumerate: Enumerate,
    open: Open,
    query: Query,
    close: Close,
}

impl Second {
    fn load() -> io::Result<Self> {
        let library = Library::of_system("computenetwork.dll")?;
        let [enumerate, open, query, close] = [
            library.function(c"HcnEnumerateNetworks")?,
            library.function(c"HcnOpenNetwork")?,
            library.function(c"HcnQueryNetworkProperties")?,
            library.function(c"HcnCloseNetwork")?,
        ]
        .map(std::ptr::NonNull::as_ptr);
        // SAFETY: these are the functions' types as Microsoft declares them.
        unsafe {
            Ok(Self {
                enumerate: std::mem::transmute::<*mut c_void, Enumerate>(enumerate),
                open: std::mem::transmute::<*mut c_void, Open>(open),
                query: std::mem::transmute::<*mut c_void, Query>(query),
                close: std::mem::transmute::<*mut c_void, Close>(close),
            })
        }
    }

    fn networks(&self) -> io::Result<Vec<String>> {
        let all = wide(ALL);
        // SAFETY: the query ends with a zero, and there is room for two pointers.
        let ids = answer(|told, why| unsafe { (self.enumerate)(all.as_ptr(), told, why) })?;
        let ids: Vec<Uuid> = serde_json::from_str(&ids)?;
        let mut networks = Vec::new();
        for id in ids {
            // One that is gone meanwhile is none.
            match self.network(id, &all) {
                Ok(network) => networks.push(network),
                Err(error) => tracing::debug!(%id, %error, "a container network is not told"),
            }
        }
        Ok(networks)
    }

    fn network(&self, id: Uuid, query: &[u16]) -> io::Result<String> {
        let (data1, data2, data3, data4) = id.as_fields();
        let (id, mut network) = (GUID { data1, data2, data3, data4: *data4 }, null_mut());
        // SAFETY: there is room for the network's handle, and for a pointer.
        answer(|_, why| unsafe { (self.open)(&raw const id, &raw mut network, why) })?;
        // SAFETY: the handle is open, the query ends with a zero, and there is room for two pointers.
        let told = answer(|told, why| unsafe { (self.query)(network, query.as_ptr(), told, why) });
        // SAFETY: the handle is open, and this is its end.
        unsafe { (self.close)(network) };
        told
    }
}

/// HNS as it was before.
struct First {
    call: Call,
}

/// What it answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    success: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    output: Vec<Value>,
}

impl First {
    fn load() -> io::Result<Self> {
        let call = Library::of_system("vmcompute.dll")?.function(c"HNSCall")?;
        // SAFETY: this is the function's type as Microsoft's own hcsshim has it.
        Ok(Self { call: unsafe { std::mem::transmute::<*mut c_void, Call>(call.as_ptr()) } })
    }

    fn networks(&self) -> io::Result<Vec<String>> {
        let [method, path, request] = ["GET", "/networks/", ""].map(wide);
        // SAFETY: all texts end with zeros, and there is room for a pointer.
        let told =
            answer(|told, _| unsafe { (self.call)(method.as_ptr(), path.as_ptr(), request.as_ptr(), told) })?;
        let answer: Answer = serde_json::from_str(&told)?;
        if answer.success {
            return Ok(answer.output.iter().map(Value::to_string).collect());
        }
        Err(io::Error::other(answer.error))
    }
}

/// What a call answers: with what it has to say, or why it does not. Both are given back.
fn answer(call: impl FnOnce(*mut PWSTR, *mut PWSTR) -> HRESULT) -> io::Result<String> {
    let (mut told, mut why) = (null_mut(), null_mut());
    let outcome = call(&raw mut told, &raw mut why);
    let (told, why) = (TaskMemory(told).text(), TaskMemory(why).text());
    if outcome >= 0 { Ok(told) } else { Err(io::Error::other(format!("{outcome:#010x}: {why}"))) }
}

/// Text in memory that a library has taken for us, or nothing.
struct TaskMemory(PWSTR);

impl TaskMemory {
    fn text(&self) -> String {
        if self.0.is_null() {
            return String::new();
        }
        // SAFETY: such text ends with a zero.
        unsafe { text(self.0) }
    }
}

impl Drop for TaskMemory {
    fn drop(&mut self) {
        // SAFETY: it was taken for us, and this is its end; null is nothing.
        unsafe { CoTaskMemFree(self.0.cast()) };
    }
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::Com::CoTaskMemAlloc;

    use super::*;

    const FIRST: &str = "7f1c0e5b-1111-4c5a-9b0a-0123456789ab";
    const GONE: &str = "00000000-0000-0000-0000-000000000001";

    /// Text as these libraries hand it over.
    unsafe fn hand_over(said: &str, to: *mut PWSTR) {
        let said = wide(said);
        // SAFETY: as much is taken as is copied; `to` is where our caller wants it.
        unsafe {
            let at: *mut u16 = CoTaskMemAlloc(size_of_val(&*said)).cast();
            at.copy_from_nonoverlapping(said.as_ptr(), said.len());
            *to = at;
        }
    }

    unsafe extern "system" fn enumerate(query: PCWSTR, told: *mut PWSTR, _: *mut PWSTR) -> HRESULT {
        // SAFETY: the query ends with a zero.
        unsafe {
            assert_eq!(text(query), ALL);
            hand_over(&format!(r#"["{}","{GONE}"]"#, FIRST.to_uppercase()), told);
        }
        0
    }

    unsafe extern "system" fn open(id: *const GUID, network: *mut *mut c_void, why: *mut PWSTR) -> HRESULT {
        // SAFETY: it leads to one; there is room for both.
        unsafe {
            let GUID { data1, data2, data3, data4 } = *id;
            if Uuid::from_fields(data1, data2, data3, &data4).to_string() != FIRST {
                hand_over(r#"{"Error":"element not found"}"#, why);
                return 0x8007_0490_u32.cast_signed();
            }
            *network = std::ptr::dangling_mut::<u64>().cast();
        }
        0
    }

    unsafe extern "system" fn query(
        network: *const c_void,
        _: PCWSTR,
        told: *mut PWSTR,
        _: *mut PWSTR,
    ) -> HRESULT {
        assert_eq!(network, std::ptr::dangling::<u64>().cast());
        // SAFETY: there is room for a pointer.
        unsafe { hand_over(r#"{"Name":"vxlan0"}"#, told) };
        0
    }

    unsafe extern "system" fn close(network: *const c_void) -> HRESULT {
        assert_eq!(network, std::ptr::dangling::<u64>().cast());
        0
    }

    unsafe extern "system" fn call(_: PCWSTR, path: PCWSTR, _: PCWSTR, told: *mut PWSTR) -> HRESULT {
        // SAFETY: the path ends with a zero; there is room for a pointer.
        unsafe {
            assert_eq!(text(path), "/networks/");
            hand_over(r#"{"Success":true,"Output":[{"Name":"a"},{"Name":"b"}]}"#, told);
        }
        0
    }

    unsafe extern "system" fn refuse(_: PCWSTR, _: PCWSTR, _: PCWSTR, told: *mut PWSTR) -> HRESULT {
        // SAFETY: there is room for a pointer.
        unsafe { hand_over(r#"{"Success":false,"Error":"not now"}"#, told) };
        0
    }

    #[test]
    fn networks_of_the_second_version_are_opened_one_by_one_and_one_that_is_gone_is_none() {
        let library = Second { enumerate, open, query, close };
        assert_eq!(library.networks().expect("they are told"), [r#"{"Name":"vxlan0"}"#]);
        let gone = library.network(GONE.parse().expect("a number"), &wide(ALL)).expect_err("it is gone");
        assert_eq!(gone.to_string(), r#"0x80070490: {"Error":"element not found"}"#);
    }

    #[test]
    fn networks_of_the_first_version_come_all_at_once() {
        let networks = First { call }.networks().expect("they are told");
        assert_eq!(networks, [r#"{"Name":"a"}"#, r#"{"Name":"b"}"#]);
        let refused = First { call: refuse }.networks().expect_err("it says no");
        assert_eq!(refused.to_string(), "not now");
    }
}
