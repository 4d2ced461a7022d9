// SPDX-License-Identifier: Apache-2.0
// Reads the configuration: libyaml gives a tree with line numbers, the table of options says what each value must be. Any thread;
// nothing is global. Every error names file and line.
#include "gateway/config.h"

#include "gateway/nearest.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#define FILE_BYTES_MAX (1 << 20)

// One file being read.
struct reader {
	struct gw_config *config;
	const char *file; // as shown in errors
	char *folder;
	struct gw_why *why;
	yaml_document_t *document;
};

// The options of a struct: those of the configuration, or of the items of a list.
static const struct gw_option *
option_of(const struct gw_option_kind *kind, size_t i)
{
	if (kind == NULL)
		return gw_option_at(i);
	return i < kind->count ? &kind->options[i] : NULL;
}

// The end of a long path says more than its beginning.
static enum gw_error
fail_at(struct reader *reader, const yaml_node_t *node, const char *words)
{
	size_t len = strlen(reader->file), skip = len > 64 ? len - 64 : 0;

	return gw_fail(reader->why, GW_E_CONFIG, "%s%s:%zu: %s", skip > 0 ? "..." : "", reader->file + skip,
	    node->start_mark.line + 1, words);
}

static bool
set_text(char **at, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return false;
	free(*at);
	*at = copy;
	return true;
}

static bool
set_path(struct reader *reader, char **at, const char *text)
{
	char *path = NULL;

	if (text[0] == '/' || text[0] == '\0' || reader->folder == NULL)
		return set_text(at, text);
	if (asprintf(&path, "%s/%s", reader->folder, text) < 0)
		return false;
	free(*at);
	*at = path;
	return true;
}

static bool
set_default(struct reader *reader, const struct gw_option *option, void *at)
{
	switch (option->type) {
	case GW_OPTION_BOOL:
		*(bool *)at = option->number != 0;
		return true;
	case GW_OPTION_INT:
		*(int64_t *)at = option->number;
		return true;
	case GW_OPTION_PATH:
		return set_path(reader, at, option->text);
	case GW_OPTION_TEXT:
	case GW_OPTION_CHOICE:
		return set_text(at, option->text);
	default:
		return true; // an empty list
	}
}

static enum gw_error
set_defaults(struct reader *reader, const struct gw_option_kind *kind, void *base)
{
	const struct gw_option *option;

	for (size_t i = 0; (option = option_of(kind, i)) != NULL; i++)
		if (!set_default(reader, option, (char *)base + option->offset))
			return gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	return GW_OK;
}

// ---- One function per type of option; text is the scalar, at the member that it is for. ----

static enum gw_error
take_bool(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text, void *at)
{
	char words[128];

	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
		snprintf(words, sizeof(words), "%s.%s is true or false, not \"%.40s\"", option->section, option->name, text);
		return fail_at(reader, node, words);
	}
	*(bool *)at = text[0] == 't';
	return GW_OK;
}

static enum gw_error
take_int(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text, void *at)
{
	char words[160], *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || text[0] == ' ' || text[0] == '+') {
		snprintf(words, sizeof(words), "%s.%s is a whole number, not \"%.40s\"", option->section, option->name, text);
		return fail_at(reader, node, words);
	}
	if (errno != 0 || value < option->low || value > option->high) {
		snprintf(words, sizeof(words), "%s.%s is %lld to %lld%s%s, not %.24s", option->section, option->name,
		    (long long)option->low, (long long)option->high, option->unit[0] != '\0' ? " " : "", option->unit, text);
		return fail_at(reader, node, words);
	}
	*(int64_t *)at = value;
	return GW_OK;
}

static bool
is_choice(const char *choices, const char *text)
{
	size_t len = strlen(text);

	for (const char *at = choices; at != NULL; at = strchr(at, '|'), at = at != NULL ? at + 1 : NULL) {
		if (strcspn(at, "|") == len && memcmp(at, text, len) == 0)
			return true;
	}
	return false;
}

static enum gw_error
take_choice(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text, void *at)
{
	char words[160];

	if (!is_choice(option->choices, text)) {
		snprintf(words, sizeof(words), "%s.%s is one of %s, not \"%.32s\"", option->section, option->name, option->choices, text);
		return fail_at(reader, node, words);
	}
	return set_text(at, text) ? GW_OK : gw_fail(reader->why, GW_E_MEMORY, "out of memory");
}

static enum gw_error
take_text(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text, void *at)
{
	bool done;

	(void)node;
	done = option->type == GW_OPTION_PATH ? set_path(reader, at, text) : set_text(at, text);
	return done ? GW_OK : gw_fail(reader->why, GW_E_MEMORY, "out of memory");
}

// The text of a scalar.
static enum gw_error
text_of(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char **text)
{
	char words[128];

	snprintf(words, sizeof(words), option->type <= GW_OPTION_CHOICE ? "%s.%s has one value, not a list or options of its own"
	    : "%s.%s: a text is wanted here", option->section, option->name);
	if (node->type != YAML_SCALAR_NODE)
		return fail_at(reader, node, words);
	*text = (const char *)node->data.scalar.value;
	if (strlen(*text) != node->data.scalar.length)
		return fail_at(reader, node, "a value holds a NUL character");
	return GW_OK;
}

static enum gw_error
take_scalar(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, void *at)
{
	static enum gw_error (*const take[])(struct reader *, const struct gw_option *, const yaml_node_t *, const char *, void *) = {
		[GW_OPTION_BOOL] = take_bool,
		[GW_OPTION_INT] = take_int,
		[GW_OPTION_TEXT] = take_text,
		[GW_OPTION_PATH] = take_text,
		[GW_OPTION_CHOICE] = take_choice,
	};
	const char *text;
	enum gw_error error = text_of(reader, option, node, &text);

	return error != GW_OK ? error : take[option->type](reader, option, node, text, at);
}

// ---- Lists ----

static bool
is_null(const yaml_node_t *node);
static enum gw_error
take_mapping(struct reader *reader, const struct gw_option_kind *kind, const char *section, const yaml_node_t *node, void *base);

// How many entries a list has that is written as a sequence (or a mapping, for pairs); none for a list that is commented out.
static enum gw_error
count_of(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, size_t *count)
{
	bool pairs = option->type == GW_OPTION_PAIRS;
	char words[160];

	*count = 0;
	if (is_null(node))
		return GW_OK;
	snprintf(words, sizeof(words), pairs ? "%s.%s has names with values, as \"MSH-5.1: ICU\"" : "%s.%s is a list: [a, b], or one line each, with \"- \"",
	    option->section, option->name);
	if (node->type != (pairs ? YAML_MAPPING_NODE : YAML_SEQUENCE_NODE))
		return fail_at(reader, node, words);
	*count = pairs ? (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start)
	    : (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	snprintf(words, sizeof(words), "%s.%s has more than %d entries", option->section, option->name, GW_CONFIG_ITEMS_MAX);
	return *count <= GW_CONFIG_ITEMS_MAX ? GW_OK : fail_at(reader, node, words);
}

static enum gw_error
take_texts(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, void *at)
{
	struct gw_config_texts *texts = at;
	enum gw_error error;
	const char *text;
	size_t count;

	if ((error = count_of(reader, option, node, &count)) != GW_OK || count == 0)
		return error;
	if ((texts->at = calloc(count, sizeof(*texts->at))) == NULL)
		return gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < count && error == GW_OK; i++) {
		const yaml_node_t *item = yaml_document_get_node(reader->document, node->data.sequence.items.start[i]);

		if ((error = text_of(reader, option, item, &text)) != GW_OK)
			break;
		texts->at[texts->count].line = item->start_mark.line + 1;
		if (!set_text(&texts->at[texts->count++].text, text))
			error = gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	}
	return error;
}

static enum gw_error
take_pairs(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, void *at)
{
	struct gw_config_pairs *pairs = at;
	enum gw_error error;
	const char *key, *value;
	size_t count;

	if ((error = count_of(reader, option, node, &count)) != GW_OK || count == 0)
		return error;
	if ((pairs->at = calloc(count, sizeof(*pairs->at))) == NULL)
		return gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < count && error == GW_OK; i++) {
		const yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
		const yaml_node_t *name = yaml_document_get_node(reader->document, pair->key);
		struct gw_config_pair *out = &pairs->at[pairs->count];

		if ((error = text_of(reader, option, name, &key)) != GW_OK ||
		    (error = text_of(reader, option, yaml_document_get_node(reader->document, pair->value), &value)) != GW_OK)
			break;
		pairs->count++;
		out->line = name->start_mark.line + 1;
		if (!set_text(&out->key, key) || !set_text(&out->value, value))
			error = gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	}
	return error;
}

static enum gw_error
take_list(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, void *at)
{
	struct gw_config_list *list = at;
	enum gw_error error;
	size_t count;

	if ((error = count_of(reader, option, node, &count)) != GW_OK || count == 0)
		return error;
	if ((list->at = calloc(count, option->items->size)) == NULL)
		return gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < count && error == GW_OK; i++) {
		const yaml_node_t *node_of_item = yaml_document_get_node(reader->document, node->data.sequence.items.start[i]);
		void *item = (char *)list->at + list->count++ * option->items->size;

		*(size_t *)item = node_of_item->start_mark.line + 1;
		if ((error = set_defaults(reader, option->items, item)) == GW_OK)
			error = take_mapping(reader, option->items, option->items->name, node_of_item, item);
	}
	return error;
}

static enum gw_error
take_value(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, void *at)
{
	switch (option->type) {
	case GW_OPTION_TEXTS: return take_texts(reader, option, node, at);
	case GW_OPTION_PAIRS: return take_pairs(reader, option, node, at);
	case GW_OPTION_LIST: return take_list(reader, option, node, at);
	default: return take_scalar(reader, option, node, at);
	}
}

// ---- The tree: sections, and options in them. ----

static bool
scalar_is(const yaml_node_t *node, const char *text)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.length == strlen(text) &&
	    memcmp(node->data.scalar.value, text, strlen(text)) == 0;
}

static struct gw_span
key_span(const yaml_node_t *key)
{
	if (key->type != YAML_SCALAR_NODE)
		return gw_span("", 0);
	return gw_span(key->data.scalar.value, key->data.scalar.length);
}

// Whether a name stands in a mapping before.
static bool
stands_before(struct reader *reader, const yaml_node_t *mapping, const yaml_node_pair_t *pair)
{
	struct gw_span name = key_span(yaml_document_get_node(reader->document, pair->key));

	for (const yaml_node_pair_t *before = mapping->data.mapping.pairs.start; before < pair; before++)
		if (gw_span_equal(name, key_span(yaml_document_get_node(reader->document, before->key))))
			return true;
	return false;
}

// section: of options of the configuration; every option of an item is of its kind.
static enum gw_error
unknown_option(struct reader *reader, const struct gw_option_kind *kind, const char *section, const yaml_node_t *key)
{
	struct gw_span name = key_span(key);
	const struct gw_option *option;
	struct gw_nearest nearest;
	char hint[160], words[256];

	gw_nearest_init(&nearest, name);
	for (size_t i = 0; (option = option_of(kind, i)) != NULL; i++) {
		if (strcmp(option->section, section) == 0)
			gw_nearest_try(&nearest, option->name);
	}
	if (name.len > 40)
		name.len = 40;
	snprintf(words, sizeof(words), "unknown option \"%.*s\" in %s%s", GW_SPAN_FMT(name), section, gw_nearest_words(&nearest, hint));
	return fail_at(reader, key, words);
}

static enum gw_error
take_option(struct reader *reader, const struct gw_option_kind *kind, const char *section, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
    void *base)
{
	const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key), *value = yaml_document_get_node(reader->document, pair->value);
	const struct gw_option *option;

	for (size_t i = 0; (option = option_of(kind, i)) != NULL; i++) {
		if (strcmp(option->section, section) != 0 || !scalar_is(key, option->name))
			continue;
		if (stands_before(reader, mapping, pair))
			return fail_at(reader, key, "this option stands here twice");
		return take_value(reader, option, value, (char *)base + option->offset);
	}
	return unknown_option(reader, kind, section, key);
}

static bool
is_null(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (node->data.scalar.length == 0 || scalar_is(node, "~") || scalar_is(node, "null"));
}

// The options of a section, or of an item of a list.
static enum gw_error
take_mapping(struct reader *reader, const struct gw_option_kind *kind, const char *section, const yaml_node_t *node, void *base)
{
	enum gw_error error = GW_OK;
	char words[128];

	if (is_null(node))
		return GW_OK; // a section whose options are all commented out
	snprintf(words, sizeof(words), kind == NULL ? "%s is a section: its options stand below it, indented"
	    : "a %s has options, such as \"%s: ...\"", section, kind != NULL ? kind->options[0].name : "");
	if (node->type != YAML_MAPPING_NODE)
		return fail_at(reader, node, words);
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top && error == GW_OK; pair++)
		error = take_option(reader, kind, section, node, pair, base);
	return error;
}

static enum gw_error
unknown_section(struct reader *reader, const yaml_node_t *key)
{
	struct gw_span name = key_span(key);
	struct gw_nearest nearest;
	char hint[160], words[256];

	gw_nearest_init(&nearest, name);
	for (size_t i = 0; gw_option_section_at(i) != NULL; i++)
		gw_nearest_try(&nearest, gw_option_section_at(i)->name);
	if (name.len > 40)
		name.len = 40;
	snprintf(words, sizeof(words), "unknown section \"%.*s\"%s", GW_SPAN_FMT(name), gw_nearest_words(&nearest, hint));
	return fail_at(reader, key, words);
}

static enum gw_error
take_root_pair(struct reader *reader, const yaml_node_t *root, const yaml_node_pair_t *pair)
{
	const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
	const struct gw_option_section *section;

	for (size_t i = 0; (section = gw_option_section_at(i)) != NULL; i++) {
		if (!scalar_is(key, section->name))
			continue;
		if (stands_before(reader, root, pair))
			return fail_at(reader, key, "this section stands here twice");
		return take_mapping(reader, NULL, section->name, yaml_document_get_node(reader->document, pair->value), reader->config);
	}
	return unknown_section(reader, key);
}

static enum gw_error
take_root(struct reader *reader)
{
	yaml_node_t *root = yaml_document_get_root_node(reader->document);
	enum gw_error error = GW_OK;

	if (root == NULL || is_null(root))
		return GW_OK; // empty: defaults
	if (root->type != YAML_MAPPING_NODE)
		return fail_at(reader, root, "the configuration begins with a section such as \"store:\"");
	for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top && error == GW_OK; pair++)
		error = take_root_pair(reader, root, pair);
	return error;
}

static enum gw_error
parse_stream(struct reader *reader, FILE *stream)
{
	yaml_document_t document;
	enum gw_error error;
	yaml_parser_t parser;

	if (!yaml_parser_initialize(&parser))
		return gw_fail(reader->why, GW_E_MEMORY, "out of memory");
	yaml_parser_set_input_file(&parser, stream);
	if (!yaml_parser_load(&parser, &document)) {
		error = gw_fail(reader->why, GW_E_CONFIG, "%.80s:%zu: not YAML: %s", reader->file, parser.problem_mark.line + 1,
		    parser.problem != NULL ? parser.problem : "cannot be read");
		goto out;
	}
	reader->document = &document;
	error = take_root(reader);
	yaml_document_delete(&document);
out:
	yaml_parser_delete(&parser);
	return error;
}

static enum gw_error
parse_file(struct reader *reader, const char *path)
{
	enum gw_error error;
	FILE *stream;

	stream = fopen(path, "re");
	if (stream == NULL)
		return gw_fail(reader->why, GW_E_CONFIG, "%.100s: %s", path, strerror(errno));
	if (fseeko(stream, 0, SEEK_END) == 0 && ftello(stream) > FILE_BYTES_MAX)
		error = gw_fail(reader->why, GW_E_CONFIG, "%.100s: larger than a configuration can be", path);
	else {
		rewind(stream);
		error = parse_stream(reader, stream);
	}
	fclose(stream);
	return error;
}

// The folder that relative paths are taken from, absolute: a daemon's working folder is an accident.
static char *
folder_of(const char *path)
{
	char *real = path != NULL ? realpath(path, NULL) : NULL, *slash;

	if (real == NULL)
		return getcwd(NULL, 0);
	slash = strrchr(real, '/');
	if (slash == real)
		slash++;
	*slash = '\0';
	return real;
}

enum gw_error
gw_config_load(const char *path, struct gw_config **config, struct gw_why *why)
{
	struct reader reader = { .file = path != NULL ? path : "", .why = why };
	enum gw_error error = GW_OK;

	*config = NULL;
	reader.config = calloc(1, sizeof(*reader.config));
	reader.folder = folder_of(path);
	if (reader.config == NULL || reader.folder == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	if (error == GW_OK)
		error = set_defaults(&reader, NULL, reader.config);
	if (error == GW_OK && path != NULL) {
		error = parse_file(&reader, path);
		if (error == GW_OK && !set_text(&reader.config->file, path))
			error = gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	free(reader.folder);
	if (error == GW_OK)
		*config = reader.config;
	else
		gw_config_free(reader.config);
	return error;
}

// ---- Freeing ----

static void
fini_values(const struct gw_option_kind *kind, void *base);

static void
fini_value(const struct gw_option *option, void *at)
{
	struct gw_config_texts *texts = at;
	struct gw_config_pairs *pairs = at;
	struct gw_config_list *list = at;

	switch (option->type) {
	case GW_OPTION_BOOL:
	case GW_OPTION_INT:
		return;
	case GW_OPTION_TEXT:
	case GW_OPTION_PATH:
	case GW_OPTION_CHOICE:
		free(*(char **)at);
		return;
	case GW_OPTION_TEXTS:
		for (size_t i = 0; i < texts->count; i++)
			free(texts->at[i].text);
		free(texts->at);
		return;
	case GW_OPTION_PAIRS:
		for (size_t i = 0; i < pairs->count; i++) {
			free(pairs->at[i].key);
			free(pairs->at[i].value);
		}
		free(pairs->at);
		return;
	case GW_OPTION_LIST:
		for (size_t i = 0; i < list->count; i++)
			fini_values(option->items, (char *)list->at + i * option->items->size);
		free(list->at);
	}
}

static void
fini_values(const struct gw_option_kind *kind, void *base)
{
	const struct gw_option *option;

	for (size_t i = 0; (option = option_of(kind, i)) != NULL; i++)
		fini_value(option, (char *)base + option->offset);
}

void
gw_config_free(struct gw_config *config)
{
	if (config == NULL)
		return;
	fini_values(NULL, config);
	free(config->file);
	free(config);
}
