/*
 * Stands in for the headers of the kernel that vgic*.c include and the tree's own are not taken for: what they name, and
 * no more, in terms of intack.h. None of it is the kernel's text. Bodies that others could notice are in harness.c.
 *
 *     real here     locks, the ap_list, interrupt flag, GICH registers, requests, kicks and wake-ups, MMIO of the distributor
 *     inert here    physical interrupts, LPIs and their lifetimes, GICv3's registers, userspace's access, probing
 *
 * Macros rather than functions where a line of the kernel is to be seen: it is the line that they stand on.
 */
#ifndef STUB_KERNEL_H
#define STUB_KERNEL_H

#include <intack.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef u64 phys_addr_t, gpa_t;

#define __iomem
#define __init
#define __ro_after_init
#define __releases(lock)
#define __must_check
#define fallthrough __attribute__((__fallthrough__))
#define likely(x) (x)
#define unlikely(x) (x)
#define EXPORT_SYMBOL_GPL(name)

#define EIO 5
#define ENXIO 6
#define EAGAIN 11
#define ENOMEM 12
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define EINTR 4
#define EOPNOTSUPP 95
#define SZ_4K 0x1000
#define PAGE_ALIGNED(address) (((address) & 0xfff) == 0)
#define IS_ALIGNED(value, to) (((value) & ((to) - 1)) == 0)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof *(array))
#define CONFIG_DEBUG_SPINLOCK 1

/* ---- the largest scenario ---- */

enum { VCPUS = 8, CPUS = 16, SPIS = 32, LIST_REGISTERS = 4 };

/* ---- bits ---- */

#define BIT(n) (1ul << (n))
#define BIT_ULL(n) (1ull << (n))
#define GENMASK(high, low) (~0ul << (low) & ~0ul >> (63 - (high)))
#define GENMASK_ULL GENMASK
#define FIELD_GET(mask, value) (((value) & (mask)) >> __builtin_ctzll(mask))
#define ilog2(n) (31 - __builtin_clz(n))
#define ffs(x) __builtin_ffs((int)(x))
#define __ffs(x) ((unsigned)__builtin_ctzl(x))
#define hweight8(x) ((unsigned)__builtin_popcount((u8)(x)))
#define array_index_nospec(index, size) (index)
#define for_each_set_bit(bit, map, size) for ((bit) = 0; (bit) < (int)(size); (bit)++) if (*(map) >> (bit) & 1)
#define le16_to_cpu(x) (x)
#define le32_to_cpu(x) (x)
#define le64_to_cpu(x) (x)
#define cpu_to_le16(x) (x)
#define cpu_to_le32(x) (x)
#define cpu_to_le64(x) (x)

static inline bool test_bit(long number, const volatile unsigned long *at)
{
    return *at >> number & 1; /* of private words only */
}

/* ---- memory. volatile is what READ_ONCE means to the compiler; the hooks see it. ---- */

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

/* A condition that must not hold: it is evaluated, so its loads are seen. */
#define WARN_ON(condition) ({ bool warn_ = (condition); if (warn_) intack_assert_failed("WARN_ON(" #condition ")"); warn_; })
#define WARN_ON_ONCE WARN_ON
#define WARN_RATELIMIT(condition, ...) \
    ({ bool warn_ = (condition); if (warn_) intack_assert_failed("WARN: " __VA_ARGS__); warn_; })
#define BUG_ON(condition) do { if (condition) intack_oops("BUG_ON(" #condition ")"); } while (0)
#define KVM_BUG_ON(condition, kvm) ((void)(kvm), WARN_ON(condition))

/* ---- CPUs, interrupts, locks ---- */

typedef struct {
    char unused;
} raw_spinlock_t;
struct mutex {
    raw_spinlock_t lock;
};

unsigned long irq_save(void);
void irq_restore(unsigned long flags);

#define raw_spin_lock(lock) intack_lock(lock)
#define raw_spin_unlock(lock) intack_unlock(lock)
#define _raw_spin_unlock(lock) intack_unlock(lock)
#define raw_spin_lock_nested(lock, depth) ((void)(depth), intack_lock(lock))
#define raw_spin_lock_irqsave(lock, flags) ((flags) = irq_save(), intack_lock(lock))
#define raw_spin_unlock_irqrestore(lock, flags) (intack_unlock(lock), irq_restore(flags))
#define SINGLE_DEPTH_NESTING 1
#define lockdep_assert_held(lock) intack_assert_held(lock)
#define irqs_disabled() (intack_assert_interrupts(false), true)
#define mutex_lock(mutex) intack_lock(&(mutex)->lock)
#define mutex_unlock(mutex) intack_unlock(&(mutex)->lock)
#define rcu_read_lock() ((void)0)
#define rcu_read_unlock() ((void)0)

/* ---- lists. A head stands for a location that holds the names of the interrupts on it; an entry is nothing. ---- */

struct list_head {
    char unused;
};
struct hlist_head {
    char unused;
};
struct rcu_head {
    char unused;
};

struct walk {
    struct intack_list list;
    size_t next;
};

typedef int (*list_cmp_func_t)(void *, const struct list_head *, const struct list_head *);

void list_add_tail(struct list_head *entry, struct list_head *head);
void list_del(struct list_head *entry);
bool list_empty(const struct list_head *head);
bool list_is_last(const struct list_head *entry, const struct list_head *head);
void list_sort(void *priv, struct list_head *head, list_cmp_func_t order);
struct intack_list list_walk(const struct list_head *head);

/* Under its lock nobody else changes a list, so it is read once, at the start of the walk. */
#define list_for_each_entry(entry, head, member) \
    for (struct walk walk_ = {list_walk(head), 0}; \
         walk_.next < walk_.list.length && ((entry) = walk_.list.item[walk_.next++]);)
#define list_for_each_entry_safe(entry, other, head, member) \
    for (struct walk walk_ = {((void)(other), list_walk(head)), 0}; \
         walk_.next < walk_.list.length && ((entry) = walk_.list.item[walk_.next++]);)

/* ---- LPIs: none here. Their lookup and their counts are never reached. ---- */

struct kref {
    int count;
};
struct xarray {
    char unused;
};
#define XA_MARK_0 0
#define kref_get(kref) ((void)(kref))
#define kref_get_unless_zero(kref) ((void)(kref), true)
#define kref_put(kref, release) ((void)(kref), (void)(release), false)
#define kfree(object) ((void)(object))
#define kfree_rcu(object, member) ((void)(object))
#define xa_load(array, index) ((void)(array), (void)(index), NULL)
#define xa_lock_irqsave(array, flags) ((void)(array), (void)(flags))
#define xa_unlock_irqrestore(array, flags) ((void)(array), (void)(flags))
#define __xa_erase(array, index) ((void)(array), (void)(index))

typedef struct {
    int counter;
} atomic_t;
#define atomic_read(at) ((at)->counter)

struct static_key_false {
    bool on;
};
#define STATIC_KEY_FALSE_INIT {false}
#define DEFINE_STATIC_KEY_FALSE(name) struct static_key_false name
#define static_branch_unlikely(key) ((key)->on)
#define static_branch_enable(key) ((key)->on = true)
#define has_vhe() true

/* ---- GICH, memory-mapped: what an address means depends on the CPU ---- */

u32 gich_read(const void *at);
void gich_write(u32 value, void *at);
#define readl_relaxed(at) gich_read(at)
#define writel_relaxed(value, at) gich_write(value, at)

/* ---- inert: physical interrupts, probing, userspace ---- */

struct resource {
    u64 start, end;
};
struct irq_data {
    struct irq_data *parent_data;
    unsigned long hwirq;
};
struct irq_desc {
    struct irq_data irq_data;
};
struct its_vpe {
    bool pending_last, ready, resident;
    atomic_t vlpi_count;
};
struct its_vm {
    int nr_vpes;
};
enum { IRQCHIP_STATE_PENDING, IRQCHIP_STATE_ACTIVE };
int irq_set_irqchip_state(unsigned irq, int which, bool value);
int irq_get_irqchip_state(unsigned irq, int which, bool *value);
struct irq_desc *irq_to_desc(unsigned irq);
#define irq_desc_get_irq_data(desc) (&(desc)->irq_data)
#define irqd_irq_disabled(data) ((void)(data), false)
#define enable_irq(irq) ((void)(irq))
#define disable_irq_nosync(irq) ((void)(irq))
#define its_prop_update_vsgi(irq, priority, group) ((void)(irq), (void)(priority), (void)(group), 0)
#define kvm_err(...) ((void)0)
#define kvm_info(...) ((void)0)
#define kvm_debug(...) ((void)0)
#define resource_size(resource) ((resource)->end - (resource)->start + 1)
#define create_hyp_io_mappings(start, size, kernel, hyp) (*(kernel) = gich_base, *(hyp) = gich_base, 0)
#define iounmap(at) ((void)(at))
#define is_protected_kvm_enabled() false
#define kvm_phys_addr_ioremap(kvm, guest, at, size, writable) 0
extern char gich_base[];

static inline const void *bsearch(const void *key, const void *base, size_t count, size_t size,
                                  int (*order)(const void *, const void *))
{
    for (size_t i = 0; i < count; i++)
        if (order(key, (const char *)base + i * size) == 0)
            return (const char *)base + i * size;
    return NULL;
}

#endif
