/* Bodies behind stub/linux: locks, per-CPU variables, lists. Frames of this file are not shown; their callers' lines are. */
#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>

#include <stdarg.h>
#include <stdio.h>

/* ---- locks ------------------------------------------------------------------------------------------------------- */

enum { HELD = 8 };
static const void *held[HELD]; /* in this call */
static size_t held_count;

void stub_lock(void *lock)
{
    if (*(bool *)lock)
        return;
    intack_lock(lock);
    if (held_count == HELD)
        intack_fail("more than %d locks are held at once", HELD);
    held[held_count++] = lock;
}

void stub_unlock(void *lock)
{
    if (*(bool *)lock)
        return;
    for (size_t i = held_count; i--;)
        if (held[i] == lock) {
            held[i] = held[--held_count];
            break;
        }
    intack_unlock(lock);
}

void stub_assert_held(const void *lock)
{
    if (!*(const bool *)lock)
        intack_assert_held(lock);
}

unsigned stub_existing_cpu(long cpu)
{
    if (cpu < 0 || cpu >= intack_cpus())
        intack_oops("there is no CPU %ld: the scenario has %u", cpu, intack_cpus());
    return (unsigned)cpu;
}

/* To be called in intack_setup(). */
void stub_setup(void)
{
    intack_private(held, sizeof held);
    intack_private(&held_count, sizeof held_count);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

enum { HEADS = 256, NODES = 512 };

static struct {
    struct list_head *at;
    const void *guard;
    int kind;
} heads[HEADS];
static struct {
    struct list_head *at;
    int kind;
    void *object;
} nodes[NODES];
static size_t head_count, node_count;

void stub_list_head(struct list_head *head, int kind, const char *name, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(text, sizeof text, name, arguments);
    va_end(arguments);
    if (head_count == HEADS)
        intack_fail("more than %d lists have names", HEADS);
    heads[head_count].at = head;
    heads[head_count++].kind = kind;
    intack_share_list(head, "%s", text);
}

void stub_list_guard(struct list_head *head, const void *lock)
{
    for (size_t i = 0; i < head_count; i++)
        if (heads[i].at == head)
            heads[i].guard = lock;
}

void stub_list_node(struct list_head *node, int kind, void *object)
{
    if (node_count == NODES)
        intack_fail("more than %d objects can be on lists", NODES);
    nodes[node_count].at = node;
    nodes[node_count].kind = kind;
    nodes[node_count++].object = object;
}

static int head_at(const struct list_head *head)
{
    for (size_t i = 0; i < head_count; i++)
        if (heads[i].at == head)
            return (int)i;
    return -1;
}

static int node_at(const struct list_head *node)
{
    for (size_t i = 0; i < node_count; i++)
        if (nodes[i].at == node)
            return (int)i;
    return -1;
}

static struct list_head *node_of(void *object, int kind)
{
    for (size_t i = 0; i < node_count; i++)
        if (nodes[i].object == object && nodes[i].kind == kind)
            return nodes[i].at;
    intack_fail("%s is on a list of another kind", intack_name_of(object));
}

static int node_known(const struct list_head *node)
{
    int n = node_at(node);
    if (n < 0)
        intack_fail("a list with a name holds nodes given with stub_list_node() only");
    return n;
}

/* On which head's list a node is, or -1: what its own links tell. */
static int list_of(int n)
{
    const void *lists[HEADS];
    int head[HEADS];
    size_t count = 0;
    for (size_t i = 0; i < head_count; i++)
        if (heads[i].kind == nodes[n].kind) {
            lists[count] = heads[i].at;
            head[count++] = (int)i;
        }
    if (!count)
        return -1;
    int at = intack_list_of(nodes[n].object, count, lists);
    return at < 0 ? -1 : head[at];
}

static bool linked(const struct list_head *node) { return node->next && node->next != node; }

void INIT_LIST_HEAD(struct list_head *head)
{
    if (head_at(head) < 0)
        head->next = head->prev = head;
}

static void insert(struct list_head *node, struct list_head *head, bool tail)
{
    if (head_at(head) < 0) {
        if (linked(node))
            intack_oops("list_add corruption: the node is on a list");
        struct list_head *before = tail ? head->prev : head, *after = before->next;
        node->prev = before, node->next = after;
        before->next = after->prev = node;
        return;
    }
    int n = node_known(node);
    struct intack_list list = intack_list_load(head);
    if (list_of(n) >= 0) {
        intack_assert_failed("list_add corruption: %s is on a list", intack_name_of(nodes[n].object));
        return;
    }
    if (list.length == INTACK_LIST_MAX)
        intack_fail("the list is full");
    for (size_t i = list.length++; i > 0 && !tail; i--)
        list.item[i] = list.item[i - 1];
    list.item[tail ? list.length - 1 : 0] = nodes[n].object;
    intack_list_store(head, &list);
}

static bool removed_from(struct list_head *head, const void *object)
{
    struct intack_list list = intack_list_load(head), left = {0};
    for (size_t i = 0; i < list.length; i++)
        if (list.item[i] != object)
            left.item[left.length++] = list.item[i];
    if (left.length == list.length)
        return false;
    intack_list_store(head, &left);
    return true;
}

static bool guarded(size_t head)
{
    for (size_t i = 0; i < held_count; i++)
        if (held[i] == heads[head].guard)
            return true;
    return false;
}

/* The list should be one whose lock is held; if it is another one, the suite sees an access without its lock. */
static bool removed(struct list_head *node)
{
    int n = node_at(node);
    if (n >= 0) {
        for (size_t i = 0; i < head_count; i++)
            if (heads[i].kind == nodes[n].kind && guarded(i) && removed_from(heads[i].at, nodes[n].object))
                return true;
        int on = list_of(n);
        if (on >= 0)
            return removed_from(heads[on].at, nodes[n].object);
    }
    if (!linked(node)) {
        intack_assert_failed("list_del corruption: %s is on no list",
                             n < 0 ? "the node" : intack_name_of(nodes[n].object));
        return false;
    }
    node->prev->next = node->next, node->next->prev = node->prev;
    node->next = node->prev = NULL;
    return true;
}

void list_add(struct list_head *node, struct list_head *head) { insert(node, head, false); }
void list_add_tail(struct list_head *node, struct list_head *head) { insert(node, head, true); }
void list_del(struct list_head *node) { removed(node); }
void list_del_init(struct list_head *node) { removed(node); }
void list_move(struct list_head *node, struct list_head *head)
{
    if (removed(node))
        insert(node, head, false);
}
void list_move_tail(struct list_head *node, struct list_head *head)
{
    if (removed(node))
        insert(node, head, true);
}

bool list_empty(const struct list_head *head)
{
    if (head_at(head) >= 0)
        return intack_list_load(head).length == 0;
    int n = node_at(head);
    return n >= 0 && list_of(n) >= 0 ? false : !linked(head);
}

struct stub_walk stub_walk(struct list_head *head)
{
    struct stub_walk walk = {.head = head};
    int at = head_at(head);
    if (at < 0) {
        for (struct list_head *node = head->next; node && node != head; node = node->next) {
            if (walk.length == INTACK_LIST_MAX)
                intack_fail("the list is too long to be walked");
            walk.item[walk.length++] = node;
        }
        return walk;
    }
    struct intack_list list = intack_list_load(head);
    for (size_t i = 0; i < list.length; i++)
        walk.item[walk.length++] = node_of(list.item[i], heads[at].kind);
    return walk;
}

struct list_head *stub_walk_next(struct stub_walk *walk)
{
    return walk->next < walk->length ? walk->item[walk->next++] : NULL;
}

struct list_head *stub_first(struct list_head *head)
{
    struct stub_walk walk = stub_walk(head);
    return walk.length ? walk.item[0] : NULL;
}

/* Stable, as the kernel's is. */
void list_sort(void *priv, struct list_head *head, list_cmp_func_t compare)
{
    struct stub_walk walk = stub_walk(head);
    for (size_t i = 1; i < walk.length; i++)
        for (size_t j = i; j > 0 && compare(priv, walk.item[j - 1], walk.item[j]) > 0; j--)
            swap(walk.item[j - 1], walk.item[j]);
    if (head_at(head) < 0) {
        head->next = head->prev = head;
        for (size_t i = 0; i < walk.length; i++) {
            walk.item[i]->next = walk.item[i]->prev = NULL;
            insert(walk.item[i], head, true);
        }
        return;
    }
    struct intack_list sorted = {.length = walk.length};
    for (size_t i = 0; i < walk.length; i++)
        sorted.item[i] = nodes[node_known(walk.item[i])].object;
    intack_list_store(head, &sorted);
}
