/*
 * Lists. A head that the harness names with stub_list_head() is a location of the machine: a tuple of the names of what is on
 * it. What can be on it are nodes given to objects with stub_list_node(); nodes and heads of one kind belong together, so an
 * object may be on a list of each kind. All other lists are private, linked as they stand.
 *
 * The checks are lib/list_debug.c's, and a little more: an add of what is on any list of its kind, a del of what is on none.
 */
#ifndef STUB_LINUX_LIST_H
#define STUB_LINUX_LIST_H

#include <linux/kernel.h>

struct list_head {
    struct list_head *next, *prev;
};
#define LIST_HEAD_INIT(name) {&(name), &(name)}
#define LIST_HEAD(name) struct list_head name = LIST_HEAD_INIT(name)
struct hlist_head {
    struct hlist_node *first;
};

/* Set-up, by the harness. `object` has a name (intack_name). */
void stub_list_head(struct list_head *head, int kind, const char *name, ...) INTACK_PRINTF(3, 4);
void stub_list_node(struct list_head *node, int kind, void *object);

void stub_list_guard(struct list_head *head, const void *lock); /* a deletion looks first where the lock is held */

void INIT_LIST_HEAD(struct list_head *head); /* of a head with a name: nothing */
void list_add(struct list_head *node, struct list_head *head);
void list_add_tail(struct list_head *node, struct list_head *head);
void list_del(struct list_head *node);
void list_del_init(struct list_head *node);
void list_move(struct list_head *node, struct list_head *head);
void list_move_tail(struct list_head *node, struct list_head *head);
bool list_empty(const struct list_head *head_or_node);
#define list_empty_careful(head) list_empty(head)

typedef int (*list_cmp_func_t)(void *priv, const struct list_head *a, const struct list_head *b);
void list_sort(void *priv, struct list_head *head, list_cmp_func_t compare);

/* A walk reads a list with a name once, when it starts: under its lock it does not change but by the walk's own deletions. */
struct stub_walk {
    struct list_head *head;
    struct list_head *item[INTACK_LIST_MAX];
    size_t length, next;
};
struct stub_walk stub_walk(struct list_head *head);
struct list_head *stub_walk_next(struct stub_walk *walk);
struct list_head *stub_first(struct list_head *head); /* NULL if there is none */

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first_entry_or_null(head, type, member) \
    ({ \
        struct list_head *first_node = stub_first(head); \
        first_node ? list_entry(first_node, type, member) : NULL; \
    })
#define list_first_entry(head, type, member) list_entry(stub_first(head), type, member)
#define list_for_each_entry(entry, head, member) \
    for (struct stub_walk stub_walk_##entry = stub_walk(head); \
         ({ \
             struct list_head *walk_node = stub_walk_next(&stub_walk_##entry); \
             (entry) = list_entry(walk_node ? walk_node : (head), __typeof__(*(entry)), member); \
             walk_node; \
         });)
#define list_for_each_entry_safe(entry, following, head, member) \
    for (struct stub_walk stub_walk_##entry = ((void)(following), stub_walk(head)); \
         ({ \
             struct list_head *walk_node = stub_walk_next(&stub_walk_##entry); \
             (entry) = list_entry(walk_node ? walk_node : (head), __typeof__(*(entry)), member); \
             walk_node; \
         });)

#endif
