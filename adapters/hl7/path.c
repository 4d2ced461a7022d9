// SPDX-License-Identifier: Apache-2.0
// Paths into a message (grammar: message.h): parsed once, looked up for each message. Any thread.
#include "adapters/hl7/message.h"

#include <ctype.h>
#include <stdio.h>

struct cursor {
	struct gw_span text; // whole
	size_t at;
	const char *wrong; // the first thing that was
};

static bool
take(struct cursor *c, char byte)
{
	if (c->wrong != NULL || c->at >= c->text.len || c->text.at[c->at] != (uint8_t)byte)
		return false;
	c->at++;
	return true;
}

static uint8_t
number(struct cursor *c, const char *wrong)
{
	unsigned value = 0;
	size_t from = c->at;

	while (c->wrong == NULL && c->at < c->text.len && isdigit(c->text.at[c->at]) && value < 256)
		value = 10 * value + c->text.at[c->at++] - '0';
	if (c->wrong == NULL && (c->at == from || value < 1 || value > 255))
		c->wrong = wrong;
	return c->wrong == NULL ? (uint8_t)value : 0;
}

// "(value)" or "(8=value)", "(4.2=value)" after its bracket.
static void
filter(struct cursor *c, uint8_t *first, uint8_t *second, char *value)
{
	const uint8_t *rest = c->text.at + c->at, *end = c->at < c->text.len ? memchr(rest, ')', c->text.len - c->at) : NULL;
	size_t len = end != NULL ? (size_t)(end - rest) : 0;
	const uint8_t *equals = end != NULL ? memchr(rest, '=', len) : NULL;

	if (end == NULL) {
		c->wrong = "no closing bracket";
		return;
	}
	if (equals != NULL) {
		*first = number(c, "a number belongs before =");
		if (second != NULL && take(c, '.'))
			*second = number(c, "a component belongs after the dot");
		if (!take(c, '=') && c->wrong == NULL)
			c->wrong = "a number belongs before =";
		len -= (size_t)(equals + 1 - rest);
		rest = equals + 1;
	}
	if (c->wrong == NULL && (len == 0 || len > GW_HL7_PATH_TEXT_MAX))
		c->wrong = "a value in brackets has 1 to 32 bytes";
	if (c->wrong != NULL)
		return;
	memcpy(value, rest, len);
	value[len] = '\0';
	c->at = (size_t)(end + 1 - c->text.at);
}

// What "(value)" after a segment's name means without a field.
static void
default_key(struct gw_hl7_path *path)
{
	bool obx = path->segment == GW_HL7_SEGMENT("OBX"), coded = path->segment == GW_HL7_SEGMENT("PRT") || path->segment == GW_HL7_SEGMENT("OBR");

	path->key_field = obx ? 3 : coded ? 4 : 1;
	path->key_component = 1;
}

static void
segment(struct cursor *c, struct gw_hl7_path *path)
{
	for (size_t i = 0; i < 3; i++)
		if (c->text.len < 4 || !(isupper(c->text.at[i]) || (i > 0 && isdigit(c->text.at[i])))) {
			c->wrong = "it begins with a segment's three letters and -";
			return;
		}
	path->segment = GW_HL7_SEGMENT(c->text.at);
	c->at = 3;
	if (take(c, '(')) {
		default_key(path);
		filter(c, &path->key_field, &path->key_component, path->key);
	}
	if (!take(c, '-') && c->wrong == NULL)
		c->wrong = "- belongs after the segment";
}

static void
field(struct cursor *c, struct gw_hl7_path *path)
{
	path->field = number(c, "the field is 1 to 255");
	if (take(c, '(')) {
		path->select = 5; // CX-5, the type of an identifier
		filter(c, &path->select, NULL, path->value);
	} else if (take(c, '[')) {
		path->repetition = number(c, "the repetition is 1 to 255");
		if (!take(c, ']') && c->wrong == NULL)
			c->wrong = "no closing bracket";
	}
	if (take(c, '.'))
		path->component = number(c, "the component is 1 to 255");
	if (take(c, '.'))
		path->subcomponent = number(c, "the subcomponent is 1 to 255");
	if (c->wrong == NULL && c->at < c->text.len)
		c->wrong = "something stands behind it";
}

enum gw_error
gw_hl7_path_parse(struct gw_span text, struct gw_hl7_path *path, struct gw_why *why)
{
	struct cursor c = { .text = text };

	*path = (struct gw_hl7_path){ 0 };
	segment(&c, path);
	field(&c, path);
	if (c.wrong == NULL)
		return GW_OK;
	return gw_fail(why, GW_E_CONFIG, "\"%.*s\" is no path such as PID-3(PI).1: %s", (int)(text.len < 60 ? text.len : 60), (const char *)text.at, c.wrong);
}

enum gw_error
gw_hl7_paths_parse(struct gw_span text, struct gw_hl7_paths *paths, struct gw_why *why)
{
	*paths = (struct gw_hl7_paths){ 0 };
	for (size_t i = 0; i < text.len;) {
		size_t from = i;
		bool inside = false;
		enum gw_error error;

		for (; i < text.len && (inside || memchr(", ", text.at[i], 2) == NULL); i++)
			inside = text.at[i] == '(' || (inside && text.at[i] != ')'); // a value may hold blanks
		if (i == from) {
			i++;
			continue;
		}
		if (paths->count == GW_HL7_PATHS_MAX)
			return gw_fail(why, GW_E_CONFIG, "more than %d paths in one list", GW_HL7_PATHS_MAX);
		if ((error = gw_hl7_path_parse(gw_span(text.at + from, i - from), &paths->path[paths->count++], why)) != GW_OK)
			return error;
	}
	return GW_OK;
}

const char *
gw_hl7_path_text(const struct gw_hl7_path *path, char out[32])
{
	int len = snprintf(out, 32, "%c%c%c-%u", (int)(path->segment >> 16 & 0x7F), (int)(path->segment >> 8 & 0x7F), (int)(path->segment & 0x7F),
	    path->field);

	if (path->component > 0)
		len += snprintf(out + len, (size_t)(32 - len), ".%u", path->component);
	if (path->subcomponent > 0)
		snprintf(out + len, (size_t)(32 - len), ".%u", path->subcomponent);
	return out;
}

// ---- Lookup ----

struct gw_hl7_scope
gw_hl7_whole(const struct gw_hl7_in *in)
{
	return (struct gw_hl7_scope){ .from = 0, .to = in->segment_count, .head = 0 };
}

static bool
has_key(const struct gw_hl7_in *in, const struct gw_hl7_path *path, size_t i)
{
	struct gw_span repetition = gw_span(NULL, 0), value = gw_hl7_field(in, i, path->key_field);

	if (path->key_field == 0)
		return true;
	while (gw_hl7_next(in, &value, &repetition))
		if (gw_span_is(gw_hl7_component(in, repetition, path->key_component > 0 ? path->key_component : 1), path->key))
			return true;
	return false;
}

static size_t
find_in(const struct gw_hl7_in *in, const struct gw_hl7_path *path, size_t from, size_t to)
{
	for (size_t i = gw_hl7_find(in, path->segment, from, to); i < to; i = gw_hl7_find(in, path->segment, i + 1, to))
		if (has_key(in, path, i))
			return i;
	return in->segment_count;
}

size_t
gw_hl7_path_segment(const struct gw_hl7_in *in, const struct gw_hl7_path *path, struct gw_hl7_scope scope)
{
	size_t i = find_in(in, path, scope.from, scope.to);

	return i < in->segment_count ? i : find_in(in, path, 0, scope.head);
}

bool
gw_hl7_path_takes(const struct gw_hl7_in *in, const struct gw_hl7_path *path, struct gw_span repetition, unsigned count)
{
	if (path->select > 0)
		return gw_span_is(gw_hl7_component(in, repetition, path->select), path->value);
	return path->repetition == 0 || path->repetition == count;
}

struct gw_span
gw_hl7_get(const struct gw_hl7_in *in, const struct gw_hl7_path *path, struct gw_hl7_scope scope)
{
	struct gw_span rest = gw_hl7_field(in, gw_hl7_path_segment(in, path, scope), path->field), repetition, value;

	if (path->segment == GW_HL7_SEGMENT("MSH") && path->field <= 2)
		return rest; // the separators themselves
	for (unsigned count = 1; gw_hl7_next(in, &rest, &repetition); count++) {
		if (!gw_hl7_path_takes(in, path, repetition, count))
			continue;
		value = path->component > 0 ? gw_hl7_component(in, repetition, path->component) : repetition;
		return path->subcomponent > 0 ? gw_hl7_subcomponent(in, value, path->subcomponent) : value;
	}
	return gw_span(NULL, 0);
}

struct gw_span
gw_hl7_first(const struct gw_hl7_in *in, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, const struct gw_hl7_path **which)
{
	if (which != NULL)
		*which = NULL;
	for (size_t i = 0; i < paths->count; i++) {
		struct gw_span value = gw_hl7_get(in, &paths->path[i], scope);

		if (value.len == 0)
			continue;
		if (which != NULL)
			*which = &paths->path[i];
		return value;
	}
	return gw_span(NULL, 0);
}
