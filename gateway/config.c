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

static const struct gw_option options[] = {
#define SECTION(s, h)
#define ROW(s, n, kind) .section = #s, .name = #n, .type = kind, .offset = offsetof(struct gw_config, s##_##n)
#define BOOL(s, n, fallback, h) { ROW(s, n, GW_OPTION_BOOL), .number = fallback, .unit = "", .help = h },
#define INT(s, n, l, u, fallback, un, h) { ROW(s, n, GW_OPTION_INT), .low = l, .high = u, .number = fallback, .unit = un, .help = h },
#define TEXT(s, n, fallback, h) { ROW(s, n, GW_OPTION_TEXT), .text = fallback, .unit = "", .help = h },
#define PATH(s, n, fallback, h) { ROW(s, n, GW_OPTION_PATH), .text = fallback, .unit = "", .help = h },
#define CHOICE(s, n, fallback, c, h) { ROW(s, n, GW_OPTION_CHOICE), .text = fallback, .choices = c, .unit = "", .help = h },
#include "gateway/options.def"
#undef SECTION
#undef BOOL
#undef INT
#undef TEXT
#undef PATH
#undef CHOICE
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static const struct gw_option_section sections[] = {
#define SECTION(s, h) { #s, h },
#define BOOL(s, n, fallback, h)
#define INT(s, n, l, u, fallback, un, h)
#define TEXT(s, n, fallback, h)
#define PATH(s, n, fallback, h)
#define CHOICE(s, n, fallback, c, h)
#include "gateway/options.def"
};
#define SECTION_COUNT (sizeof(sections) / sizeof(sections[0]))

const struct gw_option *
gw_option_at(size_t i)
{
	return i < OPTION_COUNT ? &options[i] : NULL;
}

const struct gw_option_section *
gw_option_section_at(size_t i)
{
	return i < SECTION_COUNT ? &sections[i] : NULL;
}

// One file being read.
struct reader {
	struct gw_config *config;
	const char *file; // as shown in errors
	char *folder;
	struct gw_why *why;
	yaml_document_t *document;
	bool seen[OPTION_COUNT];
	bool section_seen[SECTION_COUNT];
};

static void *
member(struct gw_config *config, const struct gw_option *option)
{
	return (char *)config + option->offset;
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
set_default(struct reader *reader, const struct gw_option *option)
{
	void *at = member(reader->config, option);

	switch (option->type) {
	case GW_OPTION_BOOL:
		*(bool *)at = option->number != 0;
		return true;
	case GW_OPTION_INT:
		*(int64_t *)at = option->number;
		return true;
	case GW_OPTION_PATH:
		return set_path(reader, at, option->text);
	default:
		return set_text(at, option->text);
	}
}

// ---- One function per type of option; text is the scalar. ----

static enum gw_error
take_bool(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text)
{
	char words[128];

	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
		snprintf(words, sizeof(words), "%s.%s is true or false, not \"%.40s\"", option->section, option->name, text);
		return fail_at(reader, node, words);
	}
	*(bool *)member(reader->config, option) = text[0] == 't';
	return GW_OK;
}

static enum gw_error
take_int(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text)
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
	*(int64_t *)member(reader->config, option) = value;
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
take_choice(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text)
{
	char words[160];

	if (!is_choice(option->choices, text)) {
		snprintf(words, sizeof(words), "%s.%s is one of %s, not \"%.32s\"", option->section, option->name, option->choices, text);
		return fail_at(reader, node, words);
	}
	return set_text(member(reader->config, option), text) ? GW_OK : gw_fail(reader->why, GW_E_MEMORY, "out of memory");
}

static enum gw_error
take_text(struct reader *reader, const struct gw_option *option, const yaml_node_t *node, const char *text)
{
	char **at = member(reader->config, option);
	bool done;

	(void)node;
	done = option->type == GW_OPTION_PATH ? set_path(reader, at, text) : set_text(at, text);
	return done ? GW_OK : gw_fail(reader->why, GW_E_MEMORY, "out of memory");
}

static enum gw_error
take_value(struct reader *reader, const struct gw_option *option, const yaml_node_t *node)
{
	static enum gw_error (*const take[])(struct reader *, const struct gw_option *, const yaml_node_t *, const char *) = {
		[GW_OPTION_BOOL] = take_bool,
		[GW_OPTION_INT] = take_int,
		[GW_OPTION_TEXT] = take_text,
		[GW_OPTION_PATH] = take_text,
		[GW_OPTION_CHOICE] = take_choice,
	};
	const char *text;
	char words[128];

	snprintf(words, sizeof(words), "%s.%s has one value, not a list or options of its own", option->section, option->name);
	if (node->type != YAML_SCALAR_NODE)
		return fail_at(reader, node, words);
	text = (const char *)node->data.scalar.value;
	if (strlen(text) != node->data.scalar.length)
		return fail_at(reader, node, "a value holds a NUL character");
	return take[option->type](reader, option, node, text);
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

static enum gw_error
unknown_option(struct reader *reader, const char *section, const yaml_node_t *key)
{
	struct gw_span name = key_span(key);
	struct gw_nearest nearest;
	char hint[160], words[256];

	gw_nearest_init(&nearest, name);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(options[i].section, section) == 0)
			gw_nearest_try(&nearest, options[i].name);
	}
	if (name.len > 40)
		name.len = 40;
	snprintf(words, sizeof(words), "unknown option \"%.*s\" in %s%s", GW_SPAN_FMT(name), section, gw_nearest_words(&nearest, hint));
	return fail_at(reader, key, words);
}

static enum gw_error
take_option(struct reader *reader, const char *section, const yaml_node_t *key, const yaml_node_t *value)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(options[i].section, section) != 0 || !scalar_is(key, options[i].name))
			continue;
		if (reader->seen[i])
			return fail_at(reader, key, "this option stands here twice");
		reader->seen[i] = true;
		return take_value(reader, &options[i], value);
	}
	return unknown_option(reader, section, key);
}

static bool
is_null(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (node->data.scalar.length == 0 || scalar_is(node, "~") || scalar_is(node, "null"));
}

static enum gw_error
take_section(struct reader *reader, const char *section, yaml_node_t *node)
{
	enum gw_error error = GW_OK;
	char words[128];

	if (is_null(node))
		return GW_OK; // a section whose options are all commented out
	snprintf(words, sizeof(words), "%s is a section: its options stand below it, indented", section);
	if (node->type != YAML_MAPPING_NODE)
		return fail_at(reader, node, words);
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top && error == GW_OK; pair++)
		error = take_option(reader, section, yaml_document_get_node(reader->document, pair->key),
		    yaml_document_get_node(reader->document, pair->value));
	return error;
}

static enum gw_error
unknown_section(struct reader *reader, const yaml_node_t *key)
{
	struct gw_span name = key_span(key);
	struct gw_nearest nearest;
	char hint[160], words[256];

	gw_nearest_init(&nearest, name);
	for (size_t i = 0; i < SECTION_COUNT; i++)
		gw_nearest_try(&nearest, sections[i].name);
	if (name.len > 40)
		name.len = 40;
	snprintf(words, sizeof(words), "unknown section \"%.*s\"%s", GW_SPAN_FMT(name), gw_nearest_words(&nearest, hint));
	return fail_at(reader, key, words);
}

static enum gw_error
take_root_pair(struct reader *reader, const yaml_node_t *key, yaml_node_t *value)
{
	for (size_t i = 0; i < SECTION_COUNT; i++) {
		if (!scalar_is(key, sections[i].name))
			continue;
		if (reader->section_seen[i])
			return fail_at(reader, key, "this section stands here twice");
		reader->section_seen[i] = true;
		return take_section(reader, sections[i].name, value);
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
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top && error == GW_OK; pair++)
		error = take_root_pair(reader, yaml_document_get_node(reader->document, pair->key),
		    yaml_document_get_node(reader->document, pair->value));
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
	for (size_t i = 0; i < OPTION_COUNT && error == GW_OK; i++) {
		if (!set_default(&reader, &options[i]))
			error = gw_fail(why, GW_E_MEMORY, "out of memory");
	}
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

void
gw_config_free(struct gw_config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (options[i].type >= GW_OPTION_TEXT)
			free(*(char **)member(config, &options[i]));
	}
	free(config->file);
	free(config);
}
