//! How many may be there at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::access::Caller;

/// One account that is no administrator's has at most this part of all seats, so that it cannot keep others out.
const SHARE: u32 = 4;

/// A bounded number of seats, shared by all doors.
#[derive(Debug)]
pub struct Seats {
    most: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_account: HashMap<String, u32>,
}

/// One seat; it is free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    account: String,
}

/// There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All are taken.
    #[error("all {0} connections are taken")]
    All(u32),
    /// This account has as many as it may.
    #[error("this account has {0} connections already")]
    Account(u32),
}

impl Seats {
    /// So many.
    #[must_use]
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.locked().all
    }

    /// A seat for this caller.
    ///
    /// # Errors
    /// When there is none for them.
    pub fn take(self: &Arc<Self>, caller: &Caller) -> Result<Seat, Full> {
        self.take_for(&caller.account.id, caller.account.administrator)
    }

    /// A seat for this account, which may have more than its share when it is `trusted`.
    ///
    /// # Errors
    /// When there is none for it.
    pub(crate) fn take_for(self: &Arc<Self>, account: &str, trusted: bool) -> Result<Seat, Full> {
        let share = (self.most / SHARE).max(1);
        let mut taken = self.locked();
        if taken.all >= self.most {
            return Err(Full::All(self.most));
        }
        let theirs = taken.by_account.entry(account.to_owned()).or_default();
        if *theirs >= share && !trusted {
            return Err(Full::Account(share));
        }
        *theirs += 1;
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), account: account.to_owned() })
    }

    fn locked(&self) -> MutexGuard<'_, Taken> {
        // Numbers are right after each line that changes them.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.locked();
        taken.all -= 1;
        if let Some(theirs) = taken.by_account.get_mut(&self.account) {
            *theirs -= 1;
            if *theirs == 0 {
                taken.by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Account, Door};

    fn caller(id: &str, administrator: bool) -> Caller {
        let account = Account { id: id.to_owned(), administrator, ..Account::default() };
        Caller { door: Door::Local, account, process: None, container: None }
    }

    #[test]
    fn one_account_cannot_take_all_seats_and_an_administrator_can() {
        let seats = Seats::new(8);
        let ann = [(); 2].map(|()| seats.take(&caller("1", false)).expect("a quarter is theirs"));
        assert_eq!(seats.take(&caller("1", false)).expect_err("more than a quarter"), Full::Account(2));
        let root = [(); 6].map(|()| seats.take(&caller("0", true)).expect("there is room"));
        assert_eq!(seats.take(&caller("0", true)).expect_err("no room"), Full::All(8));
        drop(ann);
        assert_eq!(seats.taken(), 6);
        let bob = seats.take(&caller("2", false)).expect("there is room again");
        drop((root, bob));
        assert_eq!(seats.taken(), 0);
        assert!(seats.locked().by_account.is_empty());
    }
}
