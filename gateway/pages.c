// SPDX-License-Identifier: Apache-2.0
// Walking LMDB's pages (gateway/pages.h): first the list of free pages, then the table of tables, then each table in it. A page is marked when it is met,
// so that what two places claim is found. Damage ends the look at that page and what hangs on it alone.
#include "gateway/pages.h"

#include "gateway/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 32
#define PAGE_MAX 65536
#define VALUE_MAX (64u << 20)
#define TABLES_MAX 64
#define NAME_MAX_LEN 63
#define NONE UINT64_MAX
#define TELL_EVERY 4096

// A page's head, a node's head, a tree's row; all little-endian.
enum { PAGE_NUMBER = 0, PAGE_FLAGS = 10, PAGE_LOWER = 12, PAGE_UPPER = 14, PAGE_RUN = 12, PAGE_HEAD = 16 };
enum { NODE_LO = 0, NODE_HI = 2, NODE_FLAGS = 4, NODE_KEY = 6, NODE_HEAD = 8 };
enum { TREE_PAD = 0, TREE_FLAGS = 4, TREE_DEPTH = 6, TREE_BRANCHES = 8, TREE_LEAVES = 16, TREE_RUNS = 24, TREE_ENTRIES = 32, TREE_ROOT = 40, TREE_BYTES = 48 };
enum { META_MAGIC = 16, META_VERSION = 20, META_FREE = 40, META_MAIN = 88, META_LAST = 136, META_TXN = 144, META_BYTES = 152 };
enum { BRANCH = 0x01, LEAF = 0x02, RUN = 0x04, META = 0x08 };
enum { NODE_RUN = 0x01, NODE_TREE = 0x02 };
enum { TREE_INTEGER = 0x08, TREE_SHORT = 0x8000 }; // the second is ours: branches may be as short as one entry
enum { ENV_NOSUBDIR = 0x4000 }; // LMDB keeps flags of the environment beside those of the list of free pages
#define MAGIC 0xBEEFC0DEu

struct tree {
	char name[NAME_MAX_LEN + 1];
	uint64_t root, branches, leaves, runs, entries;
	uint16_t flags, depth;
	uint64_t branches_seen, leaves_seen, runs_seen, entries_seen; // pages of runs
	bool broken; // something of it could not be looked at: counts tell nothing then
};

struct walk {
	const struct gw_pages_walk *options;
	struct gw_pages_seen *seen;
	int fd;
	uint32_t page_size;
	uint64_t last, txn;      // pages 0..last; the newest transaction
	uint64_t file_last;      // the file's last page; pages after `last` are nobody's
	uint8_t *met;            // a bit for each page
	uint8_t *freed;          // those of the list of free pages; NULL: nobody asks
	uint8_t *level[DEPTH_MAX];
	uint8_t *value;
	size_t value_cap;
	struct tree tables[TABLES_MAX];
	size_t table_count;
	uint64_t total;          // pages of trees, as the tables tell; 0: not known yet
	bool (*entry)(struct walk *walk, struct tree *tree, uint64_t page, struct gw_span key, struct gw_span value, bool is_tree);
	bool wants_values;
	enum gw_error error;
};

static void __attribute__((format(printf, 4, 5)))
damage(struct walk *walk, struct tree *tree, uint64_t page, const char *format, ...)
{
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	walk->seen->damaged++;
	if (tree != NULL)
		tree->broken = true;
	if (walk->options->damage != NULL)
		walk->options->damage(walk->options->arg, page, tree != NULL ? tree->name : "", text);
}

// What hangs on a page that is damaged.
static void
lose(struct walk *walk, const struct tree *tree, struct gw_span low, struct gw_span high)
{
	if (walk->options->lost != NULL)
		walk->options->lost(walk->options->arg, tree->name, low, high);
}

static bool
read_at(struct walk *walk, uint64_t at, void *out, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t got = pread(walk->fd, (uint8_t *)out + done, len - done, (off_t)(at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

// Marks pages; false where one of them was met before, or is beyond the end.
static bool
claim(struct walk *walk, uint64_t page, uint64_t count)
{
	bool fresh = true;

	if (page < 2 || page > walk->last || count > walk->last - page + 1)
		return false;
	for (uint64_t i = page; i < page + count; i++) {
		fresh = fresh && (walk->met[i / 8] & 1u << i % 8) == 0;
		walk->met[i / 8] |= (uint8_t)(1u << i % 8);
	}
	return fresh;
}

// Another place leads there, too: one of them is wrong, and nobody knows which.
static void
note_twice(struct walk *walk, uint64_t page)
{
	if (page >= 2 && page <= walk->last && walk->seen->twice_count < GW_PAGES_TWICE)
		walk->seen->twice[walk->seen->twice_count++] = page;
}

static bool
is_shunned(const struct walk *walk, uint64_t page)
{
	for (size_t i = 0; i < walk->options->shunned_count; i++)
		if (walk->options->shunned[i] == page)
			return true;
	return false;
}

static void
tell(struct walk *walk)
{
	const struct gw_pages_walk *options = walk->options;

	if (++walk->seen->pages % TELL_EVERY == 0 && options->progress != NULL && !options->progress(options->arg, walk->seen->pages,
	    walk->total > walk->seen->pages ? walk->total : walk->seen->pages))
		walk->error = GW_E_STOPPING;
}

// ---- Nodes ----

static int
compare(const struct tree *tree, struct gw_span a, struct gw_span b)
{
	size_t least = a.len < b.len ? a.len : b.len;
	int order;

	if (tree->flags & TREE_INTEGER && a.len == 8 && b.len == 8) {
		uint64_t x = gw_get64(a.at), y = gw_get64(b.at);

		return x < y ? -1 : x > y;
	}
	order = memcmp(a.at, b.at, least);
	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static const char *
page_problem(const struct walk *walk, const uint8_t *page, uint64_t number, bool leaf)
{
	unsigned lower = gw_get16(page + PAGE_LOWER), upper = gw_get16(page + PAGE_UPPER);

	if (gw_get64(page + PAGE_NUMBER) != number)
		return "it says another number";
	if (gw_get16(page + PAGE_FLAGS) != (leaf ? LEAF : BRANCH))
		return "it is of another kind than its place";
	if (lower < PAGE_HEAD || lower > upper || upper > walk->page_size || (lower & 1) != 0)
		return "its bounds do not fit";
	return NULL;
}

// A node of a page: its key, and where what it holds begins. False where it does not lie within the page.
static bool
node_of(const struct walk *walk, const uint8_t *page, size_t i, bool leaf, const uint8_t **node, struct gw_span *key, uint32_t *data_len)
{
	uint32_t at = gw_get16(page + PAGE_HEAD + 2 * i), len;

	if (at < gw_get16(page + PAGE_UPPER) || (at & 1) != 0 || at + NODE_HEAD > walk->page_size)
		return false;
	*node = page + at;
	*key = gw_span(*node + NODE_HEAD, gw_get16(*node + NODE_KEY));
	*data_len = (uint32_t)gw_get16(*node + NODE_LO) | (uint32_t)gw_get16(*node + NODE_HI) << 16;
	len = NODE_HEAD + (uint32_t)key->len;
	if (leaf && (gw_get16(*node + NODE_FLAGS) & NODE_RUN) != 0)
		len += 8;
	else if (leaf && *data_len > walk->page_size)
		return false;
	else if (leaf)
		len += *data_len;
	return at + len <= walk->page_size;
}

// ---- Long values ----

static bool
reads_heads(const struct walk *walk)
{
	return walk->wants_values || walk->options->deep || walk->options->contents;
}

static bool
read_value(struct walk *walk, uint64_t first, uint32_t len)
{
	uint8_t *bigger;

	if (len > walk->value_cap) {
		if ((bigger = realloc(walk->value, len)) == NULL) {
			walk->error = GW_E_MEMORY;
			return false;
		}
		walk->value = bigger;
		walk->value_cap = len;
	}
	return read_at(walk, first * walk->page_size + PAGE_HEAD, walk->value, len);
}

// A value that was replaced by a shorter one in the transaction that wrote it keeps the pages that it had: its head tells how many. Where strays are
// looked for it is not believed: they may be another's.
static bool
look_at_rest(struct walk *walk, struct tree *tree, uint64_t first, uint64_t least, const uint8_t head[PAGE_HEAD])
{
	uint64_t count = gw_get32(head + PAGE_RUN);

	if (gw_get64(head + PAGE_NUMBER) != first || gw_get16(head + PAGE_FLAGS) != RUN || count < least ||
	    (count > least && walk->options->stray == NULL && !claim(walk, first + least, count - least))) // behind the file's last page there is nothing to claim
		return false;
	tree->runs_seen += count - least;
	return true;
}

// A value with pages of its own. False where they cannot be followed; *value is empty where they were not read.
static bool
look_at_run(struct walk *walk, struct tree *tree, uint64_t page, uint64_t first, uint32_t len, struct gw_span *value)
{
	uint64_t count = ((uint64_t)len + PAGE_HEAD + walk->page_size - 1) / walk->page_size;
	uint8_t head[PAGE_HEAD];

	*value = gw_span(NULL, 0);
	if (first < 2 || first > walk->last || len > VALUE_MAX || is_shunned(walk, first) ||
	    (reads_heads(walk) && read_at(walk, first * walk->page_size, head, sizeof(head)) && gw_get64(head + PAGE_NUMBER) != first)) {
		damage(walk, tree, page, "a value leads to page %llu, which is not its own", (unsigned long long)first);
		return false;
	}
	if (!claim(walk, first, count)) {
		note_twice(walk, first);
		damage(walk, tree, page, "a value leads to page %llu, which is not its own", (unsigned long long)first);
		return false;
	}
	tree->runs_seen += count;
	if (!reads_heads(walk))
		return true;
	if (!read_at(walk, first * walk->page_size, head, sizeof(head)) || ((walk->wants_values || walk->options->contents) && !read_value(walk, first, len))) {
		if (walk->error == GW_OK)
			damage(walk, tree, first, "it cannot be read");
		return false;
	}
	if (!look_at_rest(walk, tree, first, count, head))
		damage(walk, tree, first, "the head of a long value does not fit");
	if (walk->wants_values)
		*value = gw_span(walk->value, len);
	return true;
}

// ---- Pages ----

static void
look_at_leaf(struct walk *walk, struct tree *tree, uint64_t number, const uint8_t *page, struct gw_span low, struct gw_span high)
{
	size_t count = (gw_get16(page + PAGE_LOWER) - PAGE_HEAD) / 2u;
	struct gw_span last = low, key, value;
	const uint8_t *node;
	uint32_t len;

	tree->leaves_seen++;
	for (size_t i = 0; i < count && walk->error == GW_OK; i++, last = key) {
		unsigned flags;

		if (!node_of(walk, page, i, true, &node, &key, &len)) {
			damage(walk, tree, number, "entry %zu does not lie within it", i);
			lose(walk, tree, last, high);
			return;
		}
		if ((last.at != NULL && (i > 0 ? compare(tree, last, key) >= 0 : compare(tree, last, key) > 0)) ||
		    (high.at != NULL && compare(tree, key, high) >= 0) || ((tree->flags & TREE_INTEGER) != 0 && key.len != 8)) {
			damage(walk, tree, number, "the key of entry %zu is out of order", i);
			lose(walk, tree, last, high);
			if (walk->options->stray != NULL) // what leads to it may be damaged, and it be whole
				walk->met[number / 8] &= (uint8_t)~(1u << number % 8);
			return;
		}
		flags = gw_get16(node + NODE_FLAGS);
		if ((flags & ~(unsigned)(NODE_RUN | NODE_TREE)) != 0) {
			damage(walk, tree, number, "entry %zu is of an unknown kind", i);
			lose(walk, tree, last, high);
			return;
		}
		tree->entries_seen++;
		value = gw_span(key.at + key.len, len);
		if ((flags & NODE_RUN) != 0 && !look_at_run(walk, tree, number, gw_get64(key.at + key.len), len, &value)) {
			lose(walk, tree, key, key);
			continue;
		}
		if (walk->error == GW_OK && !walk->entry(walk, tree, number, key, value, (flags & NODE_TREE) != 0))
			walk->error = walk->error == GW_OK ? GW_E_STOPPING : walk->error;
	}
}

static void look_at(struct walk *walk, struct tree *tree, uint64_t number, unsigned depth, struct gw_span low, struct gw_span high);

static void
look_at_branch(struct walk *walk, struct tree *tree, uint64_t number, const uint8_t *page, unsigned depth, struct gw_span low, struct gw_span high)
{
	size_t count = (gw_get16(page + PAGE_LOWER) - PAGE_HEAD) / 2u;
	struct gw_span key, next;
	const uint8_t *node, *after;
	uint32_t len;

	tree->branches_seen++;
	for (size_t i = 0; i < count && walk->error == GW_OK; i++) {
		bool has_next = i + 1 < count;

		if (!node_of(walk, page, i, false, &node, &key, &len) || (has_next && !node_of(walk, page, i + 1, false, &after, &next, &len))) {
			damage(walk, tree, number, "entry %zu does not lie within it", i);
			lose(walk, tree, i == 0 ? low : key, high);
			return;
		}
		if (i == 0)
			key = low;
		if (has_next && ((key.at != NULL && compare(tree, key, next) >= 0) || (high.at != NULL && compare(tree, next, high) >= 0))) {
			damage(walk, tree, number, "the key of entry %zu is out of order", i + 1);
			lose(walk, tree, key, high);
			return;
		}
		look_at(walk, tree, (uint64_t)gw_get16(node + NODE_LO) | (uint64_t)gw_get16(node + NODE_HI) << 16 | (uint64_t)gw_get16(node + NODE_FLAGS) << 32,
		    depth + 1, key, has_next ? next : high);
	}
}

// low and high: its keys lie between, high excluded; empty: no bound.
static void
look_at(struct walk *walk, struct tree *tree, uint64_t number, unsigned depth, struct gw_span low, struct gw_span high)
{
	bool leaf = depth + 1 == tree->depth;
	const char *problem = NULL;
	uint8_t *page;

	tell(walk);
	if (walk->level[depth] == NULL && (walk->level[depth] = malloc(walk->page_size)) == NULL) {
		walk->error = GW_E_MEMORY;
		return;
	}
	page = walk->level[depth];
	if (number < 2 || number > walk->last || is_shunned(walk, number))
		problem = "the tree leads to it, but it is free, another's or not there";
	else if (!read_at(walk, number * walk->page_size, page, walk->page_size))
		problem = "it cannot be read";
	else
		problem = page_problem(walk, page, number, leaf);
	if (problem == NULL && !claim(walk, number, 1)) {
		note_twice(walk, number);
		problem = "the tree leads to it, but it is free, another's or not there";
	}
	if (problem == NULL && gw_get16(page + PAGE_LOWER) < PAGE_HEAD + (leaf || (tree->flags & TREE_SHORT) != 0 ? 2 : 4))
		problem = "it holds too little";
	if (problem != NULL) {
		damage(walk, tree, number, "%s", problem);
		lose(walk, tree, low, high);
		return;
	}
	if (leaf)
		look_at_leaf(walk, tree, number, page, low, high);
	else
		look_at_branch(walk, tree, number, page, depth, low, high);
}

// ---- Trees ----

static void
look_at_tree(struct walk *walk, struct tree *tree)
{
	if (tree->root == NONE) {
		if (tree->entries != 0 || tree->depth != 0) {
			damage(walk, tree, 0, "the table says that it is empty, and that it is not");
			lose(walk, tree, gw_span(NULL, 0), gw_span(NULL, 0));
		}
		return;
	}
	if (tree->depth == 0 || tree->depth > DEPTH_MAX) {
		damage(walk, tree, tree->root, "the table's depth cannot be");
		lose(walk, tree, gw_span(NULL, 0), gw_span(NULL, 0));
		return;
	}
	look_at(walk, tree, tree->root, 0, gw_span(NULL, 0), gw_span(NULL, 0));
	walk->seen->entries += tree->entries_seen;
	if (walk->error == GW_OK && !tree->broken && (tree->branches_seen != tree->branches || tree->leaves_seen != tree->leaves ||
	    tree->runs_seen > tree->runs || (reads_heads(walk) && tree->runs_seen != tree->runs) || tree->entries_seen != tree->entries)) {
		damage(walk, tree, tree->root, "the table does not hold what it says: %llu entries instead of %llu", (unsigned long long)tree->entries_seen,
		    (unsigned long long)tree->entries);
		lose(walk, tree, gw_span(NULL, 0), gw_span(NULL, 0));
	}
}

static bool
parse_tree(const uint8_t *row, struct gw_span name, struct tree *tree)
{
	*tree = (struct tree){ .flags = gw_get16(row + TREE_FLAGS), .depth = gw_get16(row + TREE_DEPTH), .branches = gw_get64(row + TREE_BRANCHES),
		.leaves = gw_get64(row + TREE_LEAVES), .runs = gw_get64(row + TREE_RUNS), .entries = gw_get64(row + TREE_ENTRIES),
		.root = gw_get64(row + TREE_ROOT) };
	memcpy(tree->name, name.at, name.len < NAME_MAX_LEN ? name.len : NAME_MAX_LEN);
	return name.len <= NAME_MAX_LEN && (tree->flags & ~(TREE_INTEGER | ENV_NOSUBDIR)) == 0;
}

// A record of free pages: their count, then their numbers, falling.
static bool
take_free(struct walk *walk, struct tree *tree, uint64_t page, struct gw_span key, struct gw_span value, bool is_tree)
{
	uint64_t count = value.len >= 8 ? gw_get64(value.at) : 0, last = NONE;

	if (is_tree || value.len < 8 || value.len % 8 != 0 || count != value.len / 8 - 1 || gw_get64(key.at) > walk->txn) {
		damage(walk, tree, page, "a list of free pages does not fit");
		return true;
	}
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t number = gw_get64(value.at + 8 * i);

		if (number >= last || !claim(walk, number, 1)) {
			damage(walk, tree, page, "page %llu cannot be free", (unsigned long long)number);
			return true;
		}
		last = number;
		if (walk->freed != NULL)
			walk->freed[number / 8] |= (uint8_t)(1u << number % 8);
		walk->seen->pages_free++;
	}
	return true;
}

static bool
take_table(struct walk *walk, struct tree *tree, uint64_t page, struct gw_span key, struct gw_span value, bool is_tree)
{
	if (!is_tree || value.len != TREE_BYTES || walk->table_count == TABLES_MAX || !parse_tree(value.at, key, &walk->tables[walk->table_count])) {
		damage(walk, tree, page, "an entry of the table of tables does not fit");
		lose(walk, tree, gw_span(NULL, 0), gw_span(NULL, 0));
	} else
		walk->table_count++;
	return true;
}

static bool
take_entry(struct walk *walk, struct tree *tree, uint64_t page, struct gw_span key, struct gw_span value, bool is_tree)
{
	if (is_tree) {
		damage(walk, tree, page, "an entry is of another kind than its table");
		return true;
	}
	if (!walk->wants_values)
		return true;
	return walk->options->each != NULL ? walk->options->each(walk->options->arg, tree->name, key, value) : walk->options->entry(walk->options->arg, key, value);
}

// ---- What no tree leads to ----

static bool
is_met(const struct walk *walk, uint64_t page)
{
	return (walk->met[page / 8] & 1u << page % 8) != 0;
}

static uint64_t
run_of(const struct walk *walk, const uint8_t *head, uint64_t number)
{
	uint64_t count = gw_get32(head + PAGE_RUN);
	bool fits = gw_get64(head + PAGE_NUMBER) == number && gw_get16(head + PAGE_FLAGS) == RUN && count > 0 && count <= walk->last - number + 1 &&
	    count <= VALUE_MAX / walk->page_size;

	for (uint64_t i = 0; fits && i < count; i++)
		fits = !is_met(walk, number + i);
	return fits ? count : 0;
}

static void
give_stray(struct walk *walk, struct gw_span key, struct gw_span value, uint64_t offset)
{
	if (walk->error == GW_OK && !walk->options->stray(walk->options->arg, key, value, offset))
		walk->error = GW_E_STOPPING;
}

static void
give_stray_leaf(struct walk *walk, uint64_t number, const uint8_t *page)
{
	size_t count = (gw_get16(page + PAGE_LOWER) - PAGE_HEAD) / 2u;
	uint8_t head[PAGE_HEAD];
	const uint8_t *node;
	struct gw_span key;
	uint32_t len;

	(void)claim(walk, number, 1);
	for (size_t i = 0; i < count && walk->error == GW_OK; i++) {
		uint64_t first, pages;

		if (!node_of(walk, page, i, true, &node, &key, &len) || key.len == 0 || (gw_get16(node + NODE_FLAGS) & NODE_TREE) != 0)
			continue;
		if ((gw_get16(node + NODE_FLAGS) & NODE_RUN) == 0) {
			give_stray(walk, key, gw_span(key.at + key.len, len), number * walk->page_size + (uint64_t)(key.at + key.len - page));
			continue;
		}
		first = gw_get64(key.at + key.len);
		if (first < 2 || first > walk->last || !read_at(walk, first * walk->page_size, head, sizeof(head)) || (pages = run_of(walk, head, first)) == 0 ||
		    (uint64_t)len + PAGE_HEAD > pages * walk->page_size || !read_value(walk, first, len))
			continue;
		(void)claim(walk, first, pages);
		give_stray(walk, key, gw_span(walk->value, len), first * walk->page_size + PAGE_HEAD);
	}
}

// One look over the pages that are left. What lies inside a long value is never taken for a page: it may be anything.
static void
look_for_strays(struct walk *walk, bool runs, uint8_t *page)
{
	for (uint64_t number = 2; number <= walk->last && walk->error == GW_OK; number++) {
		uint64_t count;

		tell(walk);
		if (is_met(walk, number) || !read_at(walk, number * walk->page_size, page, walk->page_size))
			continue;
		if ((count = run_of(walk, page, number)) > 0 && !runs) {
			number += count - 1;
		} else if (count > 0) {
			(void)claim(walk, number, count);
			if (read_value(walk, number, (uint32_t)(count * walk->page_size - PAGE_HEAD)))
				give_stray(walk, gw_span(NULL, 0), gw_span(walk->value, count * walk->page_size - PAGE_HEAD), number * walk->page_size + PAGE_HEAD);
		} else if (!runs && page_problem(walk, page, number, true) == NULL) {
			give_stray_leaf(walk, number, page);
		}
	}
}

static void
find_strays(struct walk *walk)
{
	uint8_t *page = malloc(walk->page_size);

	if (page == NULL) {
		walk->error = GW_E_MEMORY;
		return;
	}
	if (walk->seen->older || !walk->seen->free_known) { // what is free in one state may be in use in the other
		for (uint64_t i = 0; walk->freed != NULL && i <= walk->last / 8; i++)
			walk->met[i] &= (uint8_t)~walk->freed[i];
		walk->last = walk->file_last;
	}
	look_for_strays(walk, false, page);
	look_for_strays(walk, true, page);
	free(page);
}

static void
count_lost(struct walk *walk)
{
	for (uint64_t i = 2; i <= walk->last; i++)
		walk->seen->pages_lost += (walk->met[i / 8] & 1u << i % 8) == 0;
}

// Those of the trees are what takes time.
static void
count_pages(struct walk *walk)
{
	uint64_t most = walk->last + 1;

	walk->total = walk->seen->pages;
	for (size_t i = 0; i < walk->table_count; i++) {
		uint64_t more = walk->tables[i].branches < most && walk->tables[i].leaves < most ? walk->tables[i].branches + walk->tables[i].leaves : most;

		walk->total = walk->total + more < most ? walk->total + more : most;
	}
	if (walk->error == GW_OK && walk->options->progress != NULL && !walk->options->progress(walk->options->arg, walk->seen->pages, walk->total))
		walk->error = GW_E_STOPPING;
}

static enum gw_error
walk_all(struct walk *walk, const uint8_t *meta)
{
	struct tree free_pages, tables;

	if (!parse_tree(meta + META_FREE, gw_span_text("free pages"), &free_pages) || !parse_tree(meta + META_MAIN, gw_span_text("tables"), &tables)) {
		damage(walk, NULL, 0, "the file's head does not fit");
		lose(walk, &(struct tree){ .name = "tables" }, gw_span(NULL, 0), gw_span(NULL, 0));
		if (walk->options->stray != NULL)
			find_strays(walk);
		return walk->error;
	}
	free_pages.flags |= TREE_SHORT;
	walk->entry = take_free;
	walk->wants_values = true;
	look_at_tree(walk, &free_pages);
	walk->seen->free_known = !free_pages.broken;
	walk->entry = take_table;
	walk->wants_values = false;
	if (walk->error == GW_OK)
		look_at_tree(walk, &tables);
	walk->entry = take_entry;
	count_pages(walk);
	for (size_t i = 0; walk->error == GW_OK && i < walk->table_count; i++) {
		walk->wants_values = walk->options->each != NULL || (walk->options->table != NULL && strcmp(walk->tables[i].name, walk->options->table) == 0);
		look_at_tree(walk, &walk->tables[i]);
	}
	if (walk->error == GW_OK && walk->seen->damaged > 0 && walk->options->stray != NULL)
		find_strays(walk);
	if (walk->error == GW_OK && walk->seen->damaged == 0)
		count_lost(walk);
	return walk->error;
}

// ---- The head ----

static bool
meta_fits(const uint8_t *meta, uint64_t number, uint32_t page_size)
{
	return gw_get64(meta + PAGE_NUMBER) == number && gw_get16(meta + PAGE_FLAGS) == META && gw_get32(meta + META_MAGIC) == MAGIC &&
	    gw_get32(meta + META_VERSION) == 1 && gw_get32(meta + META_FREE + TREE_PAD) == page_size;
}

// A leaf that begins with a table's row.
static bool
holds_tables(const struct walk *walk, const uint8_t *page, uint64_t number)
{
	const uint8_t *node;
	struct gw_span key;
	uint32_t len;

	return page_problem(walk, page, number, true) == NULL && gw_get16(page + PAGE_LOWER) >= PAGE_HEAD + 2 && node_of(walk, page, 0, true, &node, &key, &len) &&
	    (gw_get16(node + NODE_FLAGS) & NODE_TREE) != 0 && len == TREE_BYTES;
}

// Whether what it says can be, as far as the page that all tables hang on.
static bool
leads_on(struct walk *walk, const uint8_t *meta)
{
	uint64_t last = gw_get64(meta + META_LAST);
	uint8_t *page;
	struct tree tables;
	bool leads;

	if (!parse_tree(meta + META_MAIN, gw_span_text("tables"), &tables) || last < 1 || last > walk->file_last)
		return false;
	if (tables.root == NONE)
		return tables.depth == 0;
	if (tables.root < 2 || tables.root > last || (page = malloc(walk->page_size)) == NULL)
		return false;
	leads = read_at(walk, tables.root * walk->page_size, page, walk->page_size) &&
	    (tables.depth == 1 ? holds_tables(walk, page, tables.root) : page_problem(walk, page, tables.root, false) == NULL);
	free(page);
	return leads;
}

// The newer one of the two that fit. Where that leads nowhere, the other: of one transaction before, all of whose pages are still there.
static enum gw_error
choose_meta(struct walk *walk, uint8_t meta[META_BYTES], struct gw_why *why)
{
	uint8_t both[2][META_BYTES];
	bool fits[2];
	unsigned newer;
	struct stat at;

	if (!read_at(walk, 0, both[0], META_BYTES) || fstat(walk->fd, &at) != 0)
		return gw_fail(why, GW_E_CORRUPT, "the file's head cannot be read");
	walk->page_size = gw_get32(both[0] + META_FREE + TREE_PAD);
	if (walk->page_size < 512 || walk->page_size > PAGE_MAX || (walk->page_size & (walk->page_size - 1)) != 0)
		walk->page_size = 4096;
	walk->file_last = (uint64_t)at.st_size / walk->page_size - ((uint64_t)at.st_size >= walk->page_size);
	fits[0] = meta_fits(both[0], 0, walk->page_size);
	fits[1] = read_at(walk, walk->page_size, both[1], META_BYTES) && meta_fits(both[1], 1, walk->page_size);
	if (!fits[0] && !fits[1])
		return gw_fail(why, GW_E_CORRUPT, "the file's head is damaged");
	if (!fits[0] || !fits[1]) {
		damage(walk, NULL, fits[0] ? 1 : 0, "the file's head is damaged");
		walk->seen->older = true;
	}
	newer = !fits[0] || (fits[1] && gw_get64(both[1] + META_TXN) > gw_get64(both[0] + META_TXN));
	if (fits[0] && fits[1] && !leads_on(walk, both[newer]) && leads_on(walk, both[!newer])) {
		damage(walk, NULL, newer, "the file's head is damaged");
		walk->seen->older = true;
		newer = !newer;
	}
	memcpy(meta, both[newer], META_BYTES);
	walk->last = gw_get64(meta + META_LAST);
	walk->txn = gw_get64(meta + META_TXN);
	if (gw_get32(meta + META_FREE + TREE_PAD) != walk->page_size || walk->last < 1 || walk->last >= (uint64_t)at.st_size / walk->page_size)
		return gw_fail(why, GW_E_CORRUPT, "the file is cut off, or its head is damaged");
	return GW_OK;
}

// Nothing tells where the trees are: all pages are strays.
static enum gw_error
walk_headless(struct walk *walk, const struct gw_why *why)
{
	damage(walk, NULL, 0, "%s", why != NULL ? why->text : "the file's head is damaged");
	lose(walk, &(struct tree){ .name = "tables" }, gw_span(NULL, 0), gw_span(NULL, 0));
	walk->seen->older = true;
	walk->last = walk->file_last;
	find_strays(walk);
	return walk->error;
}

enum gw_error
gw_pages_walk(int fd, const struct gw_pages_walk *options, struct gw_pages_seen *seen, struct gw_why *why)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	uint8_t meta[META_BYTES] = { 0 };
	enum gw_error error;
	bool headless;

	*seen = (struct gw_pages_seen){ 0 };
	if (walk == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	*walk = (struct walk){ .options = options, .seen = seen, .fd = fd };
	error = choose_meta(walk, meta, why);
	headless = error == GW_E_CORRUPT && options->stray != NULL && walk->file_last > 1;
	if (error == GW_OK || headless) {
		walk->met = calloc(1, walk->file_last / 8 + 1);
		walk->freed = options->stray != NULL ? calloc(1, walk->file_last / 8 + 1) : NULL;
		if (walk->met == NULL || (options->stray != NULL && walk->freed == NULL))
			error = GW_E_MEMORY;
		else
			error = headless ? walk_headless(walk, why) : walk_all(walk, meta);
	}
	free(walk->freed);
	for (size_t i = 0; i < DEPTH_MAX; i++)
		free(walk->level[i]);
	free(walk->value);
	free(walk->met);
	free(walk);
	return error;
}

// ---- Before LMDB is let near it ----

static void
keep_first(void *arg, uint64_t page, const char *table, const char *words)
{
	struct gw_why *why = arg;

	if (why->text[0] == '\0')
		(void)gw_fail(why, GW_E_CORRUPT, "page %llu%s%s: %s", (unsigned long long)page, table[0] != '\0' ? " of " : "", table, words);
}

enum gw_error
gw_pages_check(const char *path, struct gw_why *why)
{
	struct gw_why first = { "" };
	struct gw_pages_walk walk = { .damage = keep_first, .arg = &first };
	struct gw_pages_seen seen;
	struct stat at;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum gw_error error;

	if (fd < 0)
		return errno == ENOENT ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot open %.120s: %s", path, strerror(errno));
	if (fstat(fd, &at) == 0 && at.st_size == 0) {
		close(fd);
		return GW_OK;
	}
	error = gw_pages_walk(fd, &walk, &seen, &first);
	close(fd);
	if (error != GW_OK || seen.damaged > 0)
		return gw_fail(why, error != GW_OK ? error : GW_E_CORRUPT, "%s", first.text);
	return GW_OK;
}
