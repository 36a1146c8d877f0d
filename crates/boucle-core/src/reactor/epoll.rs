//! The kernel's reactor: epoll, and an eventfd to interrupt it.
//!
//! Waiting is a separate object ([`Waiter`]), so that a face can wait without holding the registrations: another
//! Python thread may add a reader while the loop sleeps, and the kernel takes it into the running wait.
//!
//! A timeout is passed in nanoseconds (`epoll_pwait2`, Linux 5.11). Where the kernel lacks that call or a sandbox forbids
//! it, the timeout is rounded up to the millisecond: waking late is fine, waking early would spin.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;

use super::registry::{Registration, Registry, Token};
use super::{Event, Interest, Reactor};
use crate::clock::Tick;
use crate::{Error, Result};

/// The bits under which the eventfd is registered: no token has them, for no registry has four thousand million slots.
const WAKE: u64 = u64::MAX;

/// The fewest events that one wait can report.
const MIN_EVENTS: usize = 64;

/// The registrations of a loop, mirrored in the kernel.
#[derive(Debug)]
pub struct Epoll<S> {
    set: Arc<OwnedFd>,
    registry: Registry<S>,
    waker: Waker,
    waiter: Waiter,
}

/// Interrupts a wait. Any thread may hold one; it keeps its descriptor open, so that it can never hit a reused number.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Interrupts the wait that is going on, or the next one.
    pub fn wake(&self) {
        // It can only fail where the counter is full, and then the wake is already on its way.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).ok();
    }

    fn acknowledge(&self) {
        // The counter is read as a whole; it is empty if another wait has read it.
        rustix::io::read(&self.0, &mut [0_u8; 8]).ok();
    }
}

/// Waits, and keeps what the kernel reported until [`Epoll::report`] reads it.
#[derive(Default)]
pub struct Waiter {
    set: Option<Arc<OwnedFd>>,
    events: Vec<libc::epoll_event>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("set", &self.set).field("events", &self.events.len()).finish()
    }
}

impl Waiter {
    /// Waits until something happens, the time is up or a signal comes. Whether it was a signal is returned: the caller
    /// then looks after it and waits again.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        self.events.clear();
        let Some(set) = &self.set else {
            return Ok(false);
        };
        match wait(set.as_fd(), &mut self.events, timeout) {
            Ok(()) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(Error::os("epoll_wait", errno)),
        }
    }

    /// The same, but looks again and again for as long as `spin` before it sleeps: whoever sleeps is late by the time that
    /// the kernel takes to wake a thread, and a processor that has gone idle. A wake ends it as it ends a sleep, and so
    /// does the time. A signal is seen where it writes to a descriptor: no poll is interrupted.
    pub fn spin_then_wait(&mut self, spin: Duration, timeout: Duration) -> Result<bool> {
        let began = Tick::now();
        let spin = spin.min(timeout);
        loop {
            let interrupted = self.wait(Duration::ZERO)?;
            let passed = began.until(Tick::now());
            if interrupted || !self.events.is_empty() || passed >= timeout {
                return Ok(interrupted);
            }
            if passed >= spin {
                return self.wait(timeout.saturating_sub(passed));
            }
            std::hint::spin_loop();
        }
    }
}

/// Waits, appends what the kernel reports to `events`, and returns nothing else.
fn wait(epoll: BorrowedFd<'_>, events: &mut Vec<libc::epoll_event>, timeout: Duration) -> rustix::io::Result<()> {
    static FINE_TIMEOUTS: AtomicBool = AtomicBool::new(true);

    let fine = !timeout.is_zero() && FINE_TIMEOUTS.load(Ordering::Relaxed);
    let room = events.spare_capacity_mut();
    let (epoll_fd, first, room_len) = (epoll.as_raw_fd(), room.as_mut_ptr().cast(), room.len() as libc::c_int);
    let count = if fine {
        let timeout = libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: the kernel writes at most `room_len` events to `room` and reads `timeout`; both outlive the call. Called
        // by number, since the C library may be older than the kernel.
        unsafe {
            libc::syscall(libc::SYS_epoll_pwait2, epoll_fd, first, room_len, &raw const timeout, no_mask, 0_usize)
        }
    } else {
        // SAFETY: as above.
        unsafe { libc::epoll_wait(epoll_fd, first, room_len, whole_milliseconds(timeout)) }.into()
    };
    let Ok(count) = usize::try_from(count) else {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL);
        if fine && matches!(errno, Errno::NOSYS | Errno::PERM) {
            FINE_TIMEOUTS.store(false, Ordering::Relaxed);
            return wait(epoll, events, timeout);
        }
        return Err(errno);
    };
    let len = events.len() + count;
    // SAFETY: the kernel initialised that many events after the ones that were there, all within the capacity.
    unsafe { events.set_len(len) };
    Ok(())
}

/// Rounds up: waking late is fine, waking early would spin.
fn whole_milliseconds(timeout: Duration) -> libc::c_int {
    libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

/// An epoll instance that watches an eventfd, and nothing else.
fn open() -> Result<(Arc<OwnedFd>, Waker)> {
    let fd = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Error::os("epoll_create1", e))?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::os("eventfd", e))?;
    epoll::add(&fd, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)
        .map_err(|e| Error::os("epoll_ctl", e))?;
    Ok((Arc::new(fd), Waker(Arc::new(wake))))
}

impl<S> Epoll<S> {
    /// A reactor without registrations. It takes two descriptors.
    pub fn new() -> Result<Self> {
        let (set, waker) = open()?;
        let waiter = Waiter { set: Some(Arc::clone(&set)), events: Vec::with_capacity(MIN_EVENTS) };
        Ok(Self { set, registry: Registry::default(), waker, waiter })
    }

    /// In a process that has inherited the reactor by a fork: takes two new descriptors, in which nothing is registered,
    /// and closes those that it shares with its parent. Returns what interrupts the waits from now on.
    pub fn renew(&mut self) -> Result<Waker> {
        let (set, waker) = open()?;
        self.waiter = Waiter { set: Some(Arc::clone(&set)), events: Vec::with_capacity(MIN_EVENTS) };
        self.set = set;
        self.waker = waker;
        Ok(self.waker())
    }

    /// What interrupts its waits.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The descriptor of the epoll instance, for diagnostics.
    pub fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }

    /// Every registration.
    pub fn registrations(&self) -> impl Iterator<Item = &Registration<S>> {
        self.registry.iter()
    }

    /// Ends a registration whose descriptor another one has by now: the number was closed behind our back and reused. The
    /// kernel is told nothing. Returns its source, if it was there.
    pub fn forget(&mut self, token: Token) -> Option<S> {
        self.registry.remove(token).ok().map(|registration| registration.source)
    }

    /// Lends out what waits. The registrations stay usable meanwhile; [`Epoll::report`] takes it back.
    pub fn waiter(&mut self) -> Waiter {
        let mut waiter = std::mem::take(&mut self.waiter);
        // Every registration fits, so that a turn sees all that is ready, and the order of turns is asyncio's.
        let room = self.registry.len() + 1;
        waiter.events.clear();
        waiter.events.reserve(room.max(MIN_EVENTS));
        waiter
    }

    /// Takes the waiter back and appends what it brought, without events of registrations that ended meanwhile.
    pub fn report(&mut self, waiter: Waiter, events: &mut Vec<Event>) {
        for event in &waiter.events {
            let (flags, bits) = (event.events, event.u64);
            if bits == WAKE {
                self.waker.acknowledge();
                continue;
            }
            let token = Token::from_bits(bits);
            if self.registry.get_mut(token).is_ok() {
                let urgent = flags & libc::EPOLLPRI as u32 != 0;
                let flags = flags & !(libc::EPOLLPRI as u32);
                let readable = flags & !(libc::EPOLLOUT as u32) != 0;
                let writable = flags & !(libc::EPOLLIN as u32 | libc::EPOLLRDHUP as u32) != 0;
                let hung_up = flags & !(libc::EPOLLIN as u32 | libc::EPOLLOUT as u32) != 0;
                events.push(Event { token, readable, writable, hung_up, urgent });
            }
        }
        self.waiter = waiter;
    }
}

/// The descriptor as the kernel interface wants it.
fn borrow(fd: RawFd) -> Result<BorrowedFd<'static>> {
    if fd < 0 {
        return Err(Error::os("epoll_ctl", Errno::BADF));
    }
    // SAFETY: the number is handed to epoll_ctl and to nothing else. That call neither reads nor closes what it names,
    // and refuses a number that names nothing.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags.set(epoll::EventFlags::ET | epoll::EventFlags::RDHUP | epoll::EventFlags::PRI, interest.edges);
    flags
}

impl<S> Reactor<S> for Epoll<S> {
    fn register(&mut self, fd: RawFd, interest: Interest, source: S) -> Result<Token> {
        let borrowed = borrow(fd)?;
        let token = self.registry.insert(Registration { fd, interest, source });
        let data = epoll::EventData::new_u64(token.to_bits());
        let added = match epoll::add(&self.set, borrowed, data, flags(interest)) {
            // The number was closed and reused, and a duplicate of the old file kept its place in the epoll set.
            Err(Errno::EXIST) => epoll::modify(&self.set, borrowed, data, flags(interest)),
            added => added,
        };
        if let Err(errno) = added {
            self.registry.remove(token)?;
            return Err(Error::os("epoll_ctl", errno));
        }
        Ok(token)
    }

    fn change(&mut self, token: Token, interest: Interest) -> Result<()> {
        let registration = self.registry.get_mut(token)?;
        let fd = borrow(registration.fd)?;
        let data = epoll::EventData::new_u64(token.to_bits());
        match epoll::modify(&self.set, fd, data, flags(interest)) {
            // The number was closed, which ended the kernel's registration, and names another file now.
            Err(Errno::NOENT) => epoll::add(&self.set, fd, data, flags(interest)),
            changed => changed,
        }
        .map_err(|errno| Error::os("epoll_ctl", errno))?;
        registration.interest = interest;
        Ok(())
    }

    fn deregister(&mut self, token: Token) -> Result<S> {
        let registration = self.registry.remove(token)?;
        match epoll::delete(&self.set, borrow(registration.fd)?) {
            // Closed behind our back: the kernel has ended the registration already.
            Ok(()) | Err(Errno::NOENT | Errno::BADF) => Ok(registration.source),
            Err(errno) => Err(Error::os("epoll_ctl", errno)),
        }
    }

    fn source(&mut self, token: Token) -> Option<&mut S> {
        self.registry.get_mut(token).ok().map(|registration| &mut registration.source)
    }

    fn len(&self) -> usize {
        self.registry.len()
    }

    fn wait(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<()> {
        let mut waiter = self.waiter();
        let outcome = waiter.wait(timeout);
        self.report(waiter, events);
        outcome.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn wait(epoll: &mut Epoll<&'static str>) -> Vec<(&'static str, bool, bool)> {
        let mut events = Vec::new();
        epoll.wait(Duration::ZERO, &mut events).unwrap();
        events.into_iter().map(|event| (*epoll.source(event.token).unwrap(), event.readable, event.writable)).collect()
    }

    #[test]
    fn a_ready_descriptor_is_reported_until_it_is_drained() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        epoll.register(other.as_raw_fd(), Interest::READ, "other").unwrap();
        assert_eq!(wait(&mut epoll), []);
        one.write_all(b"x").unwrap();
        assert_eq!(wait(&mut epoll), [("other", true, false)]);
        assert_eq!(wait(&mut epoll), [("other", true, false)], "level-triggered");
    }

    #[test]
    fn a_byte_out_of_band_is_told_with_edges_and_is_nothing_to_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        let mut epoll = Epoll::new().unwrap();
        epoll.register(other.as_raw_fd(), Interest { write: false, ..Interest::EDGES }, ()).unwrap();
        let mut reported = || {
            let mut events = Vec::new();
            epoll.wait(Duration::from_secs(10), &mut events).unwrap();
            events.iter().map(|event| (event.readable, event.writable, event.hung_up, event.urgent)).collect::<Vec<_>>()
        };
        rustix::net::send(&one, b"!", rustix::net::SendFlags::OOB).unwrap();
        assert_eq!(reported(), [(false, false, false, true)]);
        one.write_all(b"behind").unwrap();
        assert_eq!(reported(), [(true, false, false, true)]);
    }

    #[test]
    fn a_hang_up_is_reported_as_readable_and_writable() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        epoll.register(other.as_raw_fd(), Interest::READ, "other").unwrap();
        drop(one);
        assert_eq!(wait(&mut epoll), [("other", true, true)]);
    }

    #[test]
    fn a_spin_ends_with_the_time_and_with_a_wake() {
        const LONG: Duration = Duration::from_mins(1);
        let mut epoll = Epoll::<&str>::new().unwrap();
        let spun = |epoll: &mut Epoll<&'static str>, spin, timeout| {
            let mut waiter = epoll.waiter();
            let began = Tick::now();
            assert!(!waiter.spin_then_wait(spin, timeout).unwrap());
            let (found, took) = (waiter.events.len(), began.until(Tick::now()));
            epoll.report(waiter, &mut Vec::new());
            (found, took)
        };
        for (spin, timeout) in [(LONG, 10), (Duration::from_millis(5), 10), (Duration::ZERO, 10), (LONG, 0)] {
            let timeout = Duration::from_millis(timeout);
            let (found, took) = spun(&mut epoll, spin, timeout);
            assert_eq!(found, 0);
            assert!(took >= timeout && took < LONG);
        }
        let waker = epoll.waker();
        let thread = std::thread::spawn(move || waker.wake());
        let (found, took) = spun(&mut epoll, LONG, LONG);
        thread.join().unwrap();
        assert_eq!(found, 1);
        assert!(took < LONG);
    }

    #[test]
    fn edges_are_reported_once() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        epoll.register(other.as_raw_fd(), Interest::EDGES, "other").unwrap();
        assert_eq!(wait(&mut epoll), [("other", false, true)], "it is writable");
        assert_eq!(wait(&mut epoll), []);
        one.write_all(b"x").unwrap();
        assert_eq!(wait(&mut epoll), [("other", true, true)]);
        assert_eq!(wait(&mut epoll), [], "though nobody has read");
        one.shutdown(std::net::Shutdown::Write).unwrap();
        let mut events = Vec::new();
        epoll.wait(Duration::ZERO, &mut events).unwrap();
        assert!(events[0].readable && events[0].hung_up);
    }

    #[test]
    fn an_interest_can_change() {
        let (_one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        let token = epoll.register(other.as_raw_fd(), Interest::READ, "other").unwrap();
        epoll.change(token, Interest { read: true, write: true, edges: false }).unwrap();
        assert_eq!(wait(&mut epoll), [("other", false, true)]);
        epoll.change(token, Interest::READ).unwrap();
        assert_eq!(wait(&mut epoll), []);
    }

    #[test]
    fn an_event_of_an_ended_registration_is_dropped() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        let token = epoll.register(other.as_raw_fd(), Interest::READ, "old").unwrap();
        one.write_all(b"x").unwrap();
        let mut waiter = epoll.waiter();
        waiter.wait(Duration::ZERO).unwrap();
        epoll.deregister(token).unwrap();
        epoll.register(other.as_raw_fd(), Interest::READ, "new").unwrap();
        let mut events = Vec::new();
        epoll.report(waiter, &mut events);
        assert_eq!(events, []);
        assert_eq!(wait(&mut epoll), [("new", true, false)]);
    }

    #[test]
    fn a_descriptor_closed_behind_the_reactors_back_does_no_harm() {
        let (_one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        let number = other.as_raw_fd();
        let token = epoll.register(number, Interest::WRITE, "old").unwrap();
        drop(other);
        assert_eq!(wait(&mut epoll), []);
        assert_eq!(epoll.deregister(token), Ok("old"));
    }

    #[test]
    fn a_refused_descriptor_leaves_no_registration() {
        let mut epoll = Epoll::new().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let refused = epoll.register(file.as_raw_fd(), Interest::READ, "file");
        assert_eq!(refused, Err(Error::Os { call: "epoll_ctl", errno: libc::EPERM }));
        assert!(epoll.register(-1, Interest::READ, "negative").is_err());
        assert_eq!(epoll.len(), 0);
    }

    #[test]
    fn a_wake_interrupts_the_next_wait_once() {
        let mut epoll = Epoll::<&str>::new().unwrap();
        epoll.waker().wake();
        let mut events = Vec::new();
        // Without the wake this would be an hour.
        epoll.wait(Duration::from_hours(1), &mut events).unwrap();
        assert_eq!(events, []);
        assert_eq!(wait(&mut epoll), []);
    }

    #[test]
    fn what_a_renewed_reactor_removes_stays_in_the_former_one() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let mut epoll = Epoll::new().unwrap();
        let token = epoll.register(other.as_raw_fd(), Interest::READ, "other").unwrap();
        // As after a fork: the parent holds the former instance.
        let mut parents = Waiter { set: Some(Arc::clone(&epoll.set)), events: Vec::with_capacity(MIN_EVENTS) };
        epoll.renew().unwrap();
        one.write_all(b"x").unwrap();
        assert_eq!(wait(&mut epoll), []);
        assert_eq!(epoll.deregister(token), Ok("other"));
        parents.wait(Duration::ZERO).unwrap();
        assert_eq!(parents.events.len(), 1);
    }

    #[test]
    fn a_coarse_timeout_is_rounded_up() {
        let rounded = |nanos| whole_milliseconds(Duration::from_nanos(nanos));
        assert_eq!([rounded(0), rounded(1), rounded(1_000_000), rounded(1_000_001)], [0, 1, 1, 2]);
        assert_eq!(whole_milliseconds(Duration::MAX), libc::c_int::MAX);
    }

    #[test]
    fn a_wait_is_not_shorter_than_asked_for() {
        let mut epoll = Epoll::<&str>::new().unwrap();
        for nanos in [1, 100_000, 1_300_000] {
            let timeout = Duration::from_nanos(nanos);
            let before = crate::clock::Tick::now();
            epoll.wait(timeout, &mut Vec::new()).unwrap();
            assert!(before.until(crate::clock::Tick::now()) >= timeout);
        }
    }
}
