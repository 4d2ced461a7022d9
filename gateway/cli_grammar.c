// SPDX-License-Identifier: Apache-2.0
// Arguments by their grammar: the text of a command's row ("ID [--profile NAME] [--password [TEXT|-]] [--json]") is help and parser in one.
// Single-threaded.
#include "gateway/cli.h"

#include "gateway/nearest.h"

#include <ctype.h>
#include <string.h>

#define ITEMS_MAX 48
#define NAME_BYTES 32

enum takes { TAKES_NONE, TAKES_ONE, TAKES_MAYBE };

struct item {
	char name[NAME_BYTES]; // "psk-key" for --psk-key HEX; "id" for ID
	bool positional, optional;
	enum takes takes;
};

struct grammar {
	struct item items[ITEMS_MAX];
	size_t count;
};

// "ID|all" -> "id", "FILE.csv]" -> "file", "--psk-key" -> "psk-key"
static void
name_of(const char *word, char name[NAME_BYTES])
{
	size_t len = 0;

	word += strspn(word, "[-");
	for (; len + 1 < NAME_BYTES && (isalnum((unsigned char)*word) || *word == '-'); word++)
		name[len++] = (char)tolower((unsigned char)*word);
	name[len] = '\0';
}

// What the word after an option says: a value in capitals or lower-case choices that belong to it, a value in brackets, or something else.
static enum takes
takes_of(const char *option, size_t len, const char *next)
{
	if (option[len - 1] == ']' || *next == '\0' || strncmp(next, "--", 2) == 0 || strncmp(next, "[--", 3) == 0)
		return TAKES_NONE;
	return next[0] == '[' ? TAKES_MAYBE : TAKES_ONE;
}

static void
compile(const char *text, struct grammar *grammar)
{
	grammar->count = 0;
	while (*text != '\0' && grammar->count < ITEMS_MAX) {
		struct item *item = &grammar->items[grammar->count++];
		size_t len = strcspn(text, " ");
		const char *next = text + len + strspn(text + len, " ");

		*item = (struct item){ .optional = text[0] == '[' };
		name_of(text, item->name);
		item->positional = strncmp(text + (text[0] == '['), "--", 2) != 0;
		if (!item->positional)
			item->takes = takes_of(text, len, next);
		text = next;
		if (item->takes != TAKES_NONE) { // its value's word
			text += strcspn(text, " ");
			text += strspn(text, " ");
		}
	}
}

static const struct item *
option_named(const struct grammar *grammar, const char *name, size_t len)
{
	for (size_t i = 0; i < grammar->count; i++) {
		const struct item *item = &grammar->items[i];

		if (!item->positional && strlen(item->name) == len && memcmp(item->name, name, len) == 0)
			return item;
	}
	return NULL;
}

static bool
unknown_option(const struct grammar *grammar, const char *arg, size_t len, struct gw_why *why)
{
	struct gw_nearest nearest;
	char hint[160], full[NAME_BYTES + 2];

	gw_nearest_init(&nearest, gw_span(arg, len + 2));
	for (size_t i = 0; i < grammar->count; i++) {
		snprintf(full, sizeof(full), "--%s", grammar->items[i].name);
		if (!grammar->items[i].positional)
			gw_nearest_try(&nearest, full);
	}
	(void)gw_fail(why, GW_E_ARGUMENT, "unknown option \"%.*s\"%s", (int)(len < 40 ? len + 2 : 42), arg, gw_nearest_words(&nearest, hint));
	return false;
}

static void
add(struct gw_cli *cli, const char *name, const char *value)
{
	yyjson_mut_val *key = yyjson_mut_strcpy(cli->request, name);

	yyjson_mut_obj_put(cli->arguments, key, value != NULL ? yyjson_mut_strcpy(cli->request, value) : yyjson_mut_bool(cli->request, true));
}

// Whoever lists processes reads arguments: a secret among them is gone from there once it was read.
static void
wipe(const struct item *item, char *value)
{
	static const char *const secrets[] = { "psk-key", "password" };

	for (size_t i = 0; value != NULL && i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		if (strcmp(item->name, secrets[i]) == 0)
			memset(value, '*', strlen(value));
	}
}

// One option at argv[*at]; leaves *at on its last word.
static bool
take_option(struct gw_cli *cli, const struct grammar *grammar, int argc, char **argv, int *at, struct gw_why *why)
{
	char *arg = argv[*at], *equals = strchr(arg, '='), *value = equals != NULL ? equals + 1 : NULL;
	size_t len = equals != NULL ? (size_t)(equals - arg) - 2 : strlen(arg) - 2;
	const struct item *item = option_named(grammar, arg + 2, len);

	if (item == NULL)
		return unknown_option(grammar, arg, len, why);
	if (item->takes == TAKES_NONE && value != NULL) {
		(void)gw_fail(why, GW_E_ARGUMENT, "--%s takes no value", item->name);
		return false;
	}
	if (item->takes != TAKES_NONE && value == NULL && *at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0)
		value = argv[++*at];
	if (item->takes == TAKES_ONE && value == NULL) {
		(void)gw_fail(why, GW_E_ARGUMENT, "--%s needs a value", item->name);
		return false;
	}
	add(cli, item->name, value);
	wipe(item, value);
	return true;
}

static bool
take_positional(struct gw_cli *cli, const struct grammar *grammar, size_t number, const char *arg, struct gw_why *why)
{
	for (size_t i = 0; i < grammar->count; i++) {
		if (!grammar->items[i].positional || number-- > 0)
			continue;
		add(cli, grammar->items[i].name, arg);
		return true;
	}
	(void)gw_fail(why, GW_E_ARGUMENT, "\"%.60s\" is one word too many", arg);
	return false;
}

// Whatever the grammar does not put in brackets must be there.
static bool
all_there(const struct gw_cli *cli, const struct grammar *grammar, struct gw_why *why)
{
	for (size_t i = 0; i < grammar->count; i++) {
		const struct item *item = &grammar->items[i];

		if (item->optional || gw_cli_given(cli, item->name))
			continue;
		(void)gw_fail(why, GW_E_ARGUMENT, "%s%s is missing", item->positional ? "" : "--", item->name);
		return false;
	}
	return true;
}

bool
gw_cli_parse(struct gw_cli *cli, int argc, char **argv, struct gw_why *why)
{
	struct grammar grammar;
	size_t positionals = 0;
	bool literal = false;

	compile(cli->command->arguments, &grammar);
	for (int at = 0; at < argc; at++) {
		if (!literal && strcmp(argv[at], "--") == 0)
			literal = true;
		else if (!literal && strncmp(argv[at], "--", 2) == 0) {
			if (!take_option(cli, &grammar, argc, argv, &at, why))
				return false;
		} else if (!take_positional(cli, &grammar, positionals++, argv[at], why))
			return false;
	}
	return all_there(cli, &grammar, why);
}

const char *
gw_cli_argument(const struct gw_cli *cli, const char *name)
{
	return yyjson_mut_get_str(yyjson_mut_obj_get(cli->arguments, name));
}

bool
gw_cli_given(const struct gw_cli *cli, const char *name)
{
	return yyjson_mut_obj_get(cli->arguments, name) != NULL;
}
