// SPDX-License-Identifier: Apache-2.0
// What differs between two configurations, option by option, and one made of sections of both. Any thread; where in a file something stands does not count.
#include "gateway/config.h"

#include <stdlib.h>
#include <string.h>

static size_t
size_of(const struct gw_option *option)
{
	static const size_t sizes[] = {
		[GW_OPTION_BOOL] = sizeof(bool), [GW_OPTION_INT] = sizeof(int64_t),
		[GW_OPTION_TEXT] = sizeof(char *), [GW_OPTION_PATH] = sizeof(char *), [GW_OPTION_CHOICE] = sizeof(char *),
		[GW_OPTION_TEXTS] = sizeof(struct gw_config_texts), [GW_OPTION_PAIRS] = sizeof(struct gw_config_pairs),
		[GW_OPTION_LIST] = sizeof(struct gw_config_list),
	};

	return sizes[option->type];
}

// ---- Whether two values are the same ----

static bool
same_texts(const struct gw_config_texts *a, const struct gw_config_texts *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = strcmp(a->at[i].text, b->at[i].text) == 0;
	return same;
}

static bool
same_pairs(const struct gw_config_pairs *a, const struct gw_config_pairs *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = strcmp(a->at[i].key, b->at[i].key) == 0 && strcmp(a->at[i].value, b->at[i].value) == 0;
	return same;
}

static bool
same_item(const struct gw_option_kind *kind, const void *a, const void *b);

static const char *
item_at(const struct gw_config_list *list, const struct gw_option_kind *kind, size_t i)
{
	return (const char *)list->at + i * kind->size;
}

static bool
same_list(const struct gw_option_kind *kind, const struct gw_config_list *a, const struct gw_config_list *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++)
		same = same_item(kind, item_at(a, kind, i), item_at(b, kind, i));
	return same;
}

// a and b: where the members are.
static bool
same_value(const struct gw_option *option, const void *a, const void *b)
{
	switch (option->type) {
	case GW_OPTION_BOOL: return *(const bool *)a == *(const bool *)b;
	case GW_OPTION_INT: return *(const int64_t *)a == *(const int64_t *)b;
	case GW_OPTION_TEXTS: return same_texts(a, b);
	case GW_OPTION_PAIRS: return same_pairs(a, b);
	case GW_OPTION_LIST: return same_list(option->items, a, b);
	default: return strcmp(*(char *const *)a, *(char *const *)b) == 0;
	}
}

static bool
same_item(const struct gw_option_kind *kind, const void *a, const void *b)
{
	bool same = true;

	for (size_t i = 0; same && i < kind->count; i++)
		same = same_value(&kind->options[i], (const char *)a + kind->options[i].offset, (const char *)b + kind->options[i].offset);
	return same;
}

// ---- What differs ----

struct diff {
	gw_config_change_fn *take;
	void *arg;
	size_t count;
};

static void
tell(struct diff *diff, const struct gw_option *option, const char *item, enum gw_config_how how)
{
	const struct gw_config_change change = { .option = option, .item = item, .how = how };

	diff->count++;
	if (diff->take != NULL)
		diff->take(diff->arg, &change);
}

// NULL where the items of a kind have no names.
static const struct gw_option *
name_option(const struct gw_option_kind *kind)
{
	for (size_t i = 0; i < kind->count; i++) {
		if (strcmp(kind->options[i].name, "name") == 0 && kind->options[i].type == GW_OPTION_TEXT)
			return &kind->options[i];
	}
	return NULL;
}

static const char *
name_at(const struct gw_config_list *list, const struct gw_option_kind *kind, size_t i)
{
	return *(char *const *)(const void *)(item_at(list, kind, i) + name_option(kind)->offset);
}

static const char *
item_called(const struct gw_config_list *list, const struct gw_option_kind *kind, const char *name)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(name_at(list, kind, i), name) == 0)
			return item_at(list, kind, i);
	}
	return NULL;
}

// Items by name: those that are new or other than before, and those that are gone. Their order alone is a change of the list.
static void
tell_items(struct diff *diff, const struct gw_option *option, const struct gw_config_list *from, const struct gw_config_list *to)
{
	const struct gw_option_kind *kind = option->items;
	size_t before = diff->count;

	for (size_t i = 0; name_option(kind) != NULL && i < to->count; i++) {
		const char *name = name_at(to, kind, i), *old = item_called(from, kind, name);

		if (old == NULL || !same_item(kind, old, item_at(to, kind, i)))
			tell(diff, option, name, old == NULL ? GW_CONFIG_ADDED : GW_CONFIG_CHANGED);
	}
	for (size_t i = 0; name_option(kind) != NULL && i < from->count; i++) {
		if (item_called(to, kind, name_at(from, kind, i)) == NULL)
			tell(diff, option, name_at(from, kind, i), GW_CONFIG_REMOVED);
	}
	if (diff->count == before)
		tell(diff, option, NULL, GW_CONFIG_CHANGED);
}

size_t
gw_config_diff(const struct gw_config *from, const struct gw_config *to, const char *section, gw_config_change_fn *take, void *arg)
{
	struct diff diff = { .take = take, .arg = arg };
	const struct gw_option *option;

	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		const void *a = (const char *)from + option->offset, *b = (const char *)to + option->offset;

		if ((section != NULL && strcmp(option->section, section) != 0) || same_value(option, a, b))
			continue;
		if (option->type == GW_OPTION_LIST)
			tell_items(&diff, option, a, b);
		else
			tell(&diff, option, NULL, GW_CONFIG_CHANGED);
	}
	return diff.count;
}

// ---- One of two ----

static bool
is_among(const char *section, const char *const *sections)
{
	for (; sections != NULL && *sections != NULL; sections++) {
		if (strcmp(section, *sections) == 0)
			return true;
	}
	return false;
}

void
gw_config_take(struct gw_config *config, const struct gw_config *other, const char *const *sections)
{
	const struct gw_option *option;

	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		if (is_among(option->section, sections))
			memcpy((char *)config + option->offset, (const char *)other + option->offset, size_of(option));
	}
}
