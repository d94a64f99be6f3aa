//! Posted interrupts in Rust with core::sync::atomic: KVM's algorithm as of Linux 6.1, sender and residency.
//!
//!     deliver_interrupt ──> PIR, ON ──> notification or wake          load, put: SN, NV, NDST; wakeup_handler
//!
//! Under the suite (`cfg(intack)`) the module `host` is intack.h. Without it, `rustc --test posted.rs` builds the same
//! code as it would run anywhere, over a small host of its own, and its tests pass.
#![cfg_attr(intack, no_std)]
#![allow(unsafe_code)]

use core::sync::atomic::{fence, AtomicU64, Ordering::SeqCst};

const IN: u64 = 1;
const EXITING: u64 = 2;
const EVENT: u64 = 1;
const PINV: u32 = 0xf2;
const WAKEUP: u32 = 0xf1;
const KICK: u32 = 0xfd;
const ON: u64 = 1;
const SN: u64 = 2;

/// A posted-interrupt descriptor. `control`: ON, SN, NV (bits 23:16), NDST (63:32).
#[repr(C, align(64))]
pub struct Descriptor {
    pir: [AtomicU64; 4],
    control: AtomicU64,
}

#[repr(C)]
pub struct Vcpu {
    pid: Descriptor,
    virr: [AtomicU64; 4],
    mode: AtomicU64,
    requests: AtomicU64,
    cpu: AtomicU64,
    blocking: AtomicU64,
    irr_pending: AtomicU64,
    rflags_if: AtomicU64,
}

/// The contents of these are the host's.
#[repr(C)]
pub struct Cpu {
    wakeup_lock: u8,
    wakeup_list: u8,
    running_vcpu: u8,
}

const ZERO: AtomicU64 = AtomicU64::new(0);
const VCPU: Vcpu = Vcpu {
    pid: Descriptor { pir: [ZERO; 4], control: ZERO },
    virr: [ZERO; 4],
    mode: ZERO,
    requests: ZERO,
    cpu: ZERO,
    blocking: ZERO,
    irr_pending: ZERO,
    rflags_if: ZERO,
};
const CPU: Cpu = Cpu { wakeup_lock: 0, wakeup_list: 0, running_vcpu: 0 };

#[no_mangle]
pub static VCPUS: [Vcpu; 2] = [VCPU; 2];
#[no_mangle]
pub static CPUS: [Cpu; 4] = [CPU; 4];

fn test_and_set(word: &AtomicU64, bit: u64) -> bool {
    word.fetch_or(bit, SeqCst) & bit != 0
}

impl Vcpu {
    fn wake_up(&self) {
        if self.blocking.load(SeqCst) != 0 {
            host::wake(self);
        }
    }

    fn nv(&self) -> u32 {
        (self.pid.control.load(SeqCst) >> 16 & 0xff) as u32
    }

    fn update_control(&self, clear: u64, set: u64) -> u64 {
        let mut old = self.pid.control.load(SeqCst);
        loop {
            let new = old & !clear | set;
            match self.pid.control.compare_exchange(old, new, SeqCst, SeqCst) {
                Ok(_) => return new,
                Err(found) => old = found,
            }
        }
    }

    /// What was posted under SN has set no ON.
    fn announce_left_over(&self) {
        fence(SeqCst);
        if self.pid.pir.iter().any(|word| word.load(SeqCst) != 0) {
            self.pid.control.fetch_or(ON, SeqCst);
        }
    }

    /// In a handler on top of the vCPU's own thread.
    fn is_running_here(&self) -> bool {
        host::fact(c"posts-on-own-cpu") && host::list(&CPUS[host::cpu_id()].running_vcpu, |v| core::ptr::eq(v, self))
    }

    fn set_irr_and_kick(&self, vector: u32) {
        self.virr[vector as usize / 64].fetch_or(1 << (vector % 64), SeqCst);
        self.irr_pending.store(1, SeqCst);
        self.requests.fetch_or(EVENT, SeqCst);
        self.wake_up();
        if self.mode.compare_exchange(IN, EXITING, SeqCst, SeqCst).is_ok() {
            host::send_ipi(KICK, self.cpu.load(SeqCst) as i64);
        }
    }

    fn pi_load(&self, place: u32) {
        let before = self.cpu.load(SeqCst) as usize;
        if self.nv() != WAKEUP && before == place as usize {
            if self.pid.control.fetch_and(!SN, SeqCst) & SN != 0 {
                self.announce_left_over();
            }
            return;
        }
        let interrupts = host::interrupts(false);
        if self.nv() == WAKEUP {
            host::locked(&CPUS[before].wakeup_lock, || host::change(&CPUS[before].wakeup_list, self, false));
        }
        let destination = if host::fact(c"xapic") { place << 8 & 0xff00 } else { place };
        self.update_control(!ON, (destination as u64) << 32 | (PINV as u64) << 16);
        host::interrupts(interrupts);
        self.announce_left_over();
    }
}

fn set_running(place: usize, vcpu: Option<&Vcpu>) {
    if host::fact(c"posts-on-own-cpu") {
        host::set(&CPUS[place].running_vcpu, vcpu);
    }
}

#[no_mangle]
pub extern "C" fn deliver_interrupt(vcpu: &Vcpu, vector: u32) {
    if host::fact(c"apicv-inhibited") {
        return vcpu.set_irr_and_kick(vector);
    }
    if test_and_set(&vcpu.pid.pir[vector as usize / 64], 1 << (vector % 64)) || test_and_set(&vcpu.pid.control, ON) {
        return;
    }
    if vcpu.mode.load(SeqCst) != IN {
        vcpu.wake_up();
    } else if !vcpu.is_running_here() {
        host::send_ipi(PINV, vcpu.cpu.load(SeqCst) as i64);
    }
}

#[no_mangle]
pub extern "C" fn load(vcpu: &Vcpu, place: u32) {
    set_running(place as usize, Some(vcpu));
    vcpu.pi_load(place);
    vcpu.cpu.store(place as u64, SeqCst);
}

#[no_mangle]
pub extern "C" fn put(vcpu: &Vcpu, preempted: bool) {
    if vcpu.blocking.load(SeqCst) != 0 && vcpu.rflags_if.load(SeqCst) != 0 {
        let interrupts = host::interrupts(false);
        let here = &CPUS[host::cpu_id()];
        host::locked(&here.wakeup_lock, || host::change(&here.wakeup_list, vcpu, true));
        if vcpu.update_control(0xff << 16, (WAKEUP as u64) << 16) & ON != 0 {
            host::send_ipi(WAKEUP, host::SELF); // its notification went to the old vector
        }
        host::interrupts(interrupts);
    }
    if preempted {
        vcpu.pid.control.fetch_or(SN, SeqCst);
    }
    set_running(host::cpu_id(), None);
}

#[no_mangle]
pub extern "C" fn wakeup_handler(place: u32) {
    let here = &CPUS[place as usize];
    host::locked(&here.wakeup_lock, || {
        host::list(&here.wakeup_list, |vcpu| {
            if vcpu.pid.control.load(SeqCst) & ON != 0 {
                vcpu.wake_up();
            }
            false
        })
    });
}

/// What no compiler sees: intack.h.
#[cfg(intack)]
mod host {
    use super::Vcpu;
    use core::ffi::CStr;

    pub const SELF: i64 = -1;

    #[repr(C)]
    struct List {
        length: usize,
        item: [*const Vcpu; 16],
    }

    extern "C" {
        fn intack_interrupts(on: bool) -> bool;
        fn intack_send_ipi(vector: u32, to: i64);
        fn intack_lock(lock: *const u8);
        fn intack_unlock(lock: *const u8);
        fn intack_wake(thread: *const Vcpu) -> bool;
        fn intack_cpu_id() -> u32;
        fn intack_fact(name: *const i8) -> bool;
        fn intack_list_load(list: *const u8) -> List;
        fn intack_list_store(list: *const u8, value: *const List);
    }

    pub fn interrupts(on: bool) -> bool {
        unsafe { intack_interrupts(on) }
    }
    pub fn send_ipi(vector: u32, to: i64) {
        unsafe { intack_send_ipi(vector, to) }
    }
    pub fn wake(vcpu: &Vcpu) {
        unsafe { intack_wake(vcpu) };
    }
    pub fn cpu_id() -> usize {
        unsafe { intack_cpu_id() as usize }
    }
    pub fn fact(name: &CStr) -> bool {
        unsafe { intack_fact(name.as_ptr().cast()) }
    }
    pub fn locked<T>(lock: &u8, inside: impl FnOnce() -> T) -> T {
        unsafe { intack_lock(lock) };
        let value = inside();
        unsafe { intack_unlock(lock) };
        value
    }
    /// Whether any vCPU of the list is found; `find` may just use each.
    pub fn list(list: &u8, find: impl FnMut(&Vcpu) -> bool) -> bool {
        let found = unsafe { intack_list_load(list) };
        found.item[..found.length.min(16)].iter().map(|vcpu| unsafe { &**vcpu }).any(find)
    }
    pub fn set(list: &u8, vcpu: Option<&Vcpu>) {
        let mut value = List { length: vcpu.is_some() as usize, item: [core::ptr::null(); 16] };
        value.item[0] = vcpu.map_or(core::ptr::null(), |v| v);
        unsafe { intack_list_store(list, &value) };
    }
    /// Joins the list at its end, or leaves it.
    pub fn change(list: &u8, vcpu: &Vcpu, join: bool) {
        let found = unsafe { intack_list_load(list) };
        let mut left = List { length: 0, item: [core::ptr::null(); 16] };
        let others = found.item[..found.length.min(16)].iter().filter(|&&v| join || v != vcpu);
        for &other in others.chain(join.then_some(&(vcpu as *const Vcpu))) {
            left.item[left.length.min(15)] = other;
            left.length += 1;
        }
        unsafe { intack_list_store(list, &left) };
    }
}

/// A host without interrupts: what it was asked for is kept, for the tests.
#[cfg(not(intack))]
mod host {
    use super::Vcpu;
    use std::cell::RefCell;
    use std::ffi::CStr;

    pub const SELF: i64 = -1;
    thread_local!(pub static DID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

    fn did(what: String) {
        DID.with_borrow_mut(|all| all.push(what));
    }
    pub fn interrupts(_on: bool) -> bool {
        true
    }
    pub fn send_ipi(vector: u32, to: i64) {
        did(format!("ipi {vector:#x} to {to}"));
    }
    pub fn wake(_vcpu: &Vcpu) {
        did("wake".into());
    }
    pub fn cpu_id() -> usize {
        0
    }
    pub fn fact(_name: &CStr) -> bool {
        false
    }
    pub fn locked<T>(_lock: &u8, inside: impl FnOnce() -> T) -> T {
        inside()
    }
    pub fn list(_list: &u8, _find: impl FnMut(&Vcpu) -> bool) -> bool {
        false
    }
    pub fn set(_list: &u8, _vcpu: Option<&Vcpu>) {}
    pub fn change(_list: &u8, _vcpu: &Vcpu, join: bool) {
        did(if join { "join" } else { "leave" }.into());
    }
}

#[cfg(all(test, not(intack)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_posts_notifies() {
        let vcpu = VCPU;
        vcpu.mode.store(IN, SeqCst);
        deliver_interrupt(&vcpu, 200);
        deliver_interrupt(&vcpu, 100);
        assert_eq!(vcpu.pid.pir[3].load(SeqCst), 1 << 8);
        assert_eq!(host::DID.take(), ["ipi 0xf2 to 0"]);
    }

    #[test]
    fn put_of_a_vcpu_with_a_vector_outstanding_sends_itself_the_wakeup() {
        let vcpu = VCPU;
        vcpu.blocking.store(1, SeqCst);
        vcpu.rflags_if.store(1, SeqCst);
        vcpu.pid.control.store(ON | (PINV as u64) << 16, SeqCst);
        put(&vcpu, false);
        assert_eq!(vcpu.nv(), WAKEUP);
        load(&vcpu, 1);
        assert_eq!(vcpu.pid.control.load(SeqCst), ON | (PINV as u64) << 16 | 1 << 32);
        assert_eq!(host::DID.take(), ["join", "ipi 0xf1 to -1", "leave"]);
    }
}
