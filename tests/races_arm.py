"""Races of Arm's vGIC, told as one line each. tests/test_order.py has those of x86, and asks about both."""

RACES = {
    "A10": "cpu0.enters < change_active.irq41.active := 0 < leave_guest.irq41.active := 1",
    "A14": "put.vmcr_sw := 0x400003 < inject.wakes vcpu0 < vcpu_block.about to sleep",
    "A16": "cpu0.reads ap_list < inject.or requests < inject.cmpxchg mode < cpu0.mode := 1",
    "A18": "vcpu_run.reads vm.irq_pending_on_cpu = 1 < maintenance_handler.or vm.irq_pending_on_cpu "
    "< vcpu_run.and vm.irq_pending_on_cpu",
    "A19": "leave_guest.vcpu0.vgic_eisr := 1 < load.cpu0.running_vcpu := [vcpu1] "
    "< maintenance_handler.reads cpu0.running_vcpu = [vcpu1]",
    "A20": "cpu0.enters < inject.reads irq41.owner = [vcpu0]",
    "A21": "cpu0.enters < distributor.irq40.target := 1 < cpu1.enters",
    "A23": "cpu1.enters < distributor.irq41.owner := [vcpu1]",
    "A28": "cpu0.enters < redistributor0.reads cpu0.Valid = 1",
    "A30": "redistributor0.cpu0.PendingLast := 0 < doorbell_of_vcpu0.pending_last := 1 < vcpu_wfi.pending_last := 0",
    "A31": "vcpu_wfi.cpu0.vpendbaser := < load.reads vcpu1.resident = 0 < cpu0.sleeps < ITS.or vpt",
    "A32": "cpu0.stays awake < cpu0.enters < ITS.or vpt",
    "A33": "cpu0.enters < leave_guest.reads vcpu0.vmcr_sw",
    "L1": "inject.reads vm.enabled = 0 < distributor.swap vm.enabled 1",
    "L2": "inject.irq41.owner := [vcpu0] < distributor.irq41.target := 1 < cpu0.cpu0.hcr := 1",
    "L3": "cpu0.enters < distributor.irq41.target := 1 < distributor.irq41.latch := 1",
    "L5": "cpu0.mode := 0 < change_active.irq41.active := 0 < leave_guest.irq41.active := 1",
    "L6": "vcpu_wfi.cpu0.vpendbaser := < doorbell_of_vcpu0.pending_last := 1 < vcpu_wfi.pending_last := 0",
    "V01": "inject.unlocks irq41.irq_lock < distributor.irq41.target := 1 < inject.locks vcpu0.ap_list_lock",
    "V18": "cpu0.sleeps < inject.or requests",
    "V19": "cpu0.enters < inject.irq41.latch := 1",
    "V20": "inject.cmpxchg mode 1 -> 2: lost < vcpu_enter_guest.reads requests = 0 < inject.or requests",
    "V22": "inject.or requests < cpu0.cpu0.lr[0] := 0x1a000029 < vcpu_enter_guest.reads requests = 1 < cpu0.vcpu0.mode := 0",
    "V23": "vcpu_enter_guest.reads requests = 0 < inject.sends < cpu0.takes < cpu0.enters",
    "V26": "vcpu_block.unlocks ap_list_lock < inject.wakes < cpu0.sleeps",
    "V31": "vcpu_wfi.reads cpu0.PendingLast = 0 < redistributor0.reads cpu0.Valid = 0",
}
"""By bug of reference/known_bad/arm/register.py, in its scenario: the order that it is told as."""

EXCLUDED = {"A30", "L6", "V20", "V31"}
"""Where the change is not made, no run at all fits: a lock, a request or a wait stands in the way."""
