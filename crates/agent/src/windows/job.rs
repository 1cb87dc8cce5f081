//! Job objects: a process with all that it starts, its limits, and its end.
#![expect(unsafe_code, reason = "no crate whose versions fit ours wraps jobs with their limits")]

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle},
    ptr::{null, null_mut},
};

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_CPU_RATE_CONTROL_ENABLE,
    JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_JOB_MEMORY,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_CPU_RATE_CONTROL_INFORMATION,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS, JobObjectBasicProcessIdList,
    JobObjectCpuRateControlInformation, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject, TerminateJobObject,
};

use crate::{access::Limits, windows::memory::size};

/// A process with all that it starts. When the last handle is closed, and so when whoever holds it is killed, all of it
/// ends.
#[derive(Debug)]
pub struct Job(OwnedHandle);

impl Job {
    /// An empty one with these limits. Nothing in it can leave it.
    ///
    /// # Errors
    /// When the system refuses, also one of the limits: none is left out silently.
    pub fn new(limits: &Limits) -> io::Result<Self> {
        // SAFETY: a new handle without a name, which is ours to close.
        let job = unsafe {
            let job = CreateJobObjectW(null(), null());
            if job.is_null() {
                return Err(io::Error::last_os_error());
            }
            Self(OwnedHandle::from_raw_handle(job))
        };
        job.set(JobObjectExtendedLimitInformation, &extended(limits)?)?;
        if let Some(milli) = limits.cpu_milli {
            let cpus = std::thread::available_parallelism()?.get();
            let mut rate = JOBOBJECT_CPU_RATE_CONTROL_INFORMATION {
                ControlFlags: JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP,
                ..Default::default()
            };
            rate.Anonymous.CpuRate = cpu_rate(milli, cpus);
            job.set(JobObjectCpuRateControlInformation, &rate)?;
        }
        Ok(job)
    }

    /// Takes a process in; what it starts from now on is in it, too.
    ///
    /// # Errors
    /// As the system has them.
    pub fn assign(&self, process: BorrowedHandle<'_>) -> io::Result<()> {
        // SAFETY: both handles are open.
        let done = unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends all that is in it, at once, each with this code.
    ///
    /// # Errors
    /// As the system has them.
    pub fn terminate(&self, code: u32) -> io::Result<()> {
        // SAFETY: the handle is open.
        let done = unsafe { TerminateJobObject(self.0.as_raw_handle(), code) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The numbers of the processes in it, as many as a thousand.
    ///
    /// # Errors
    /// As the system has them.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        // Two counts of 32 bits, then numbers of 64.
        let mut answer = [0_u64; 1 + 1000];
        // SAFETY: the handle is open, and there is room for as much as is said.
        let done = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicProcessIdList,
                answer.as_mut_ptr().cast(),
                size::<[u64; 1001]>(),
                null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        let listed = usize::try_from(answer[0] >> 32).unwrap_or(0).min(1000);
        Ok(answer[1..=listed].iter().filter_map(|pid| u32::try_from(*pid).ok()).collect())
    }

    fn set<T>(&self, class: JOBOBJECTINFOCLASS, value: &T) -> io::Result<()> {
        let at: *const c_void = std::ptr::from_ref(value).cast();
        // SAFETY: the handle is open; both callers give each class the structure that it wants.
        let done = unsafe { SetInformationJobObject(self.0.as_raw_handle(), class, at, size::<T>()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn extended(limits: &Limits) -> io::Result<JOBOBJECT_EXTENDED_LIMIT_INFORMATION> {
    let mut all = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    // A program that crashes ends, and shows no window that nobody sees.
    let mut flags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    if let Some(memory) = limits.memory {
        flags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        all.JobMemoryLimit = usize::try_from(memory.bytes()).map_err(io::Error::other)?;
    }
    if let Some(processes) = limits.processes {
        flags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        all.BasicLimitInformation.ActiveProcessLimit = processes;
    }
    all.BasicLimitInformation.LimitFlags = flags;
    Ok(all)
}

/// Thousandths of one CPU as Windows has them: ten-thousandths of all CPUs, one at least.
fn cpu_rate(milli: u32, cpus: usize) -> u32 {
    let all = u64::try_from(cpus).unwrap_or(1).max(1);
    u32::try_from((u64::from(milli) * 10 / all).clamp(1, 10_000)).unwrap_or(10_000)
}

#[cfg(test)]
mod tests {
    use winstead_spec::ByteSize;

    use super::*;

    #[test]
    fn a_share_of_one_cpu_is_a_smaller_share_of_all() {
        assert_eq!(
            [(500, 1), (500, 4), (4000, 4), (9000, 4), (1, 64)].map(|(m, n)| cpu_rate(m, n)),
            [5000, 1250, 10_000, 10_000, 1]
        );
    }

    #[test]
    fn limits_are_what_the_job_is_told() {
        let limits =
            Limits { memory: Some(ByteSize::from_bytes(1 << 20)), processes: Some(7), cpu_milli: None };
        let told = extended(&limits).expect("they fit");
        assert_eq!((told.JobMemoryLimit, told.BasicLimitInformation.ActiveProcessLimit), (1 << 20, 7));
        Job::new(&limits).expect("a job");
    }
}
