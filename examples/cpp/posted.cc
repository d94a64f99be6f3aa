/*
 * Posted interrupts in C++ with std::atomic: KVM's algorithm as of Linux 6.1, sender and residency.
 *
 *     deliver_interrupt ──> PIR, ON ──> notification or wake          load, put: SN, NV, NDST; wakeup_handler
 *
 * Nothing here knows of the suite but for what no compiler sees: interrupts, locks, lists, wake-ups.
 */
#include <atomic>
#include <intack.h>

constexpr uint64_t in_guest = 1, exiting = 2;                   // Vcpu::mode
constexpr uint64_t event = 1;                                   // Vcpu::requests
constexpr unsigned pinv = 0xf2, wakeup = 0xf1, kick = 0xfd;     // host vectors

struct Control { // of a posted-interrupt descriptor: ON, SN, NV, NDST
    static constexpr uint64_t on = 1, sn = 2;
    uint64_t bits;
    unsigned nv() const { return bits >> 16 & 0xff; }
    Control with_nv(unsigned vector) const { return {(bits & ~(0xffull << 16)) | uint64_t{vector} << 16}; }
    Control moved_to(uint64_t ndst) const { return {(bits & on) | uint64_t{pinv} << 16 | ndst << 32}; }
};

struct Vcpu {
    struct {
        std::atomic<uint64_t> pir[4], control;
        uint64_t unused[3];
    } pid;
    std::atomic<uint64_t> virr[4], mode, requests, cpu, blocking, irr_pending, rflags_if;

    void wake_up()
    {
        if (blocking.load())
            intack_wake(this);
    }

    template <typename Change> Control update(Change change)
    {
        uint64_t old = pid.control.load();
        Control next;
        do
            next = change(Control{old});
        while (!pid.control.compare_exchange_strong(old, next.bits));
        return next;
    }

    void announce_left_over() // what was posted under SN has set no ON
    {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        for (auto &word : pid.pir)
            if (word.load()) {
                pid.control.fetch_or(Control::on);
                return;
            }
    }
};

struct Cpu { // the contents of these are the suite's
    char wakeup_lock, wakeup_list, running_vcpu;
};

class Locked {
    Cpu &cpu;

public:
    explicit Locked(Cpu &c) : cpu(c) { intack_lock(&cpu.wakeup_lock); }
    ~Locked() { intack_unlock(&cpu.wakeup_lock); }
};

static bool test_and_set(std::atomic<uint64_t> &word, uint64_t bit) { return word.fetch_or(bit) & bit; }

Vcpu vcpus[2];
Cpu cpus[4];

static void change_list(Cpu &cpu, Vcpu &v, bool join)
{
    Locked locked(cpu);
    intack_list list = intack_list_load(&cpu.wakeup_list), left{};
    for (size_t i = 0; i < list.length; i++)
        if (join || list.item[i] != &v)
            left.item[left.length++] = list.item[i];
    if (join)
        left.item[left.length++] = &v;
    intack_list_store(&cpu.wakeup_list, &left);
}

static void set_running(Cpu &cpu, Vcpu *v)
{
    intack_list running{v != nullptr, {v}};
    if (intack_fact("posts-on-own-cpu"))
        intack_list_store(&cpu.running_vcpu, &running);
}

static bool is_running_here(Vcpu &v) // in a handler on top of the vCPU's own thread
{
    if (!intack_fact("posts-on-own-cpu"))
        return false;
    intack_list running = intack_list_load(&cpus[intack_cpu_id()].running_vcpu);
    return running.length == 1 && running.item[0] == &v;
}

static void set_irr_and_kick(Vcpu &v, unsigned vector)
{
    uint64_t mode = in_guest;
    v.virr[vector / 64].fetch_or(1ull << vector % 64);
    v.irr_pending.store(1);
    v.requests.fetch_or(event);
    v.wake_up();
    if (v.mode.compare_exchange_strong(mode, exiting))
        intack_send_ipi(kick, static_cast<int64_t>(v.cpu.load()));
}

extern "C" void deliver_interrupt(Vcpu &v, unsigned vector)
{
    if (intack_fact("apicv-inhibited"))
        return set_irr_and_kick(v, vector);
    if (test_and_set(v.pid.pir[vector / 64], 1ull << vector % 64) || test_and_set(v.pid.control, Control::on))
        return;
    if (v.mode.load() != in_guest)
        v.wake_up();
    else if (!is_running_here(v))
        intack_send_ipi(pinv, static_cast<int64_t>(v.cpu.load()));
}

static void pi_load(Vcpu &v, unsigned where)
{
    auto nv = [&v] { return Control{v.pid.control.load()}.nv(); };
    uint64_t before = v.cpu.load();
    if (nv() != wakeup && before == where) {
        if (v.pid.control.fetch_and(~Control::sn) & Control::sn)
            v.announce_left_over();
        return;
    }
    bool interrupts = intack_interrupts(false);
    if (nv() == wakeup)
        change_list(cpus[before], v, false);
    uint64_t destination = intack_fact("xapic") ? where << 8 & 0xff00 : where;
    v.update([=](Control old) { return old.moved_to(destination); });
    intack_interrupts(interrupts);
    v.announce_left_over();
}

extern "C" void load(Vcpu &v, unsigned where)
{
    set_running(cpus[where], &v);
    pi_load(v, where);
    v.cpu.store(where);
}

extern "C" void put(Vcpu &v, bool preempted)
{
    if (v.blocking.load() && v.rflags_if.load()) {
        bool interrupts = intack_interrupts(false);
        change_list(cpus[intack_cpu_id()], v, true);
        if (v.update([](Control old) { return old.with_nv(wakeup); }).bits & Control::on)
            intack_send_ipi(wakeup, INTACK_SELF); // its notification went to the old vector
        intack_interrupts(interrupts);
    }
    if (preempted)
        v.pid.control.fetch_or(Control::sn);
    set_running(cpus[intack_cpu_id()], nullptr);
}

extern "C" void wakeup_handler(unsigned where)
{
    Locked locked(cpus[where]);
    intack_list list = intack_list_load(&cpus[where].wakeup_list);
    for (size_t i = 0; i < list.length; i++) {
        auto &v = *static_cast<Vcpu *>(list.item[i]);
        if (v.pid.control.load() & Control::on)
            v.wake_up();
    }
}
