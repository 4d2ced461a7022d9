// SPDX-License-Identifier: Apache-2.0
// Patterns: routes by levels, SenML names from the right. Pure; any thread. No backtracking: time is linear in what a stranger sends.
#include "gateway/profile_table.h"

#include <string.h>

static bool
capture_name_ok(struct gw_span name)
{
	if (name.len == 0 || name.len > 32)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!((name.at[i] >= 'a' && name.at[i] <= 'z') || (name.at[i] >= '0' && name.at[i] <= '9' && i > 0) || name.at[i] == '_'))
			return false;
	return true;
}

bool
gw_route_compile(const char *text, enum gw_door door, struct gw_route *route)
{
	struct gw_span rest = gw_span_text(text);
	size_t captures = 0;

	*route = (struct gw_route){ .text = text, .door = (uint8_t)door };
	for (bool more = true; more;) {
		const uint8_t *slash = memchr(rest.at, '/', rest.len);
		struct gw_span level = { rest.at, slash != NULL ? (size_t)(slash - rest.at) : rest.len };
		struct gw_level *out = &route->levels[route->count];
		if (route->count++ == GW_LEVELS_MAX - 1)
			return false;
		more = slash != NULL;
		rest = more ? gw_span(slash + 1, rest.len - level.len - 1) : rest;
		out->text = level;
		out->capture = level.len > 2 && level.at[0] == '{' && level.at[level.len - 1] == '}';
		if (out->capture) {
			out->text = gw_span(level.at + 1, level.len - 2);
			if (!capture_name_ok(out->text) || captures++ == GW_CAPTURES_MAX)
				return false;
		} else if (level.len > 0 && memchr(level.at, '{', level.len) != NULL)
			return false; // a capture is a whole level
		else if (level.len == 1 && (level.at[0] == '+' || level.at[0] == '#'))
			return false;
	}
	return *text != '\0';
}

int
gw_route_specific(const struct gw_route *a, const struct gw_route *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++)
		if (a->levels[i].capture != b->levels[i].capture)
			return a->levels[i].capture ? 1 : -1;
	return (int)b->count - (int)a->count;
}

static bool
route_match(const struct gw_route *route, const struct gw_span *levels, size_t count, struct gw_match *out)
{
	if (route->count != count)
		return false;
	out->count = 0;
	out->device = (struct gw_span){ NULL, 0 };
	for (size_t i = 0; i < count; i++) {
		const struct gw_level *level = &route->levels[i];
		if (!level->capture) {
			if (!gw_span_equal(level->text, levels[i]))
				return false;
			continue;
		}
		if (levels[i].len == 0)
			return false;
		out->captures[out->count].name = level->text;
		out->captures[out->count++].value = levels[i];
		if (gw_span_is(level->text, "device"))
			out->device = levels[i];
	}
	return true;
}

// Levels of a topic or path; 0 where there are too many.
static size_t
split_levels(struct gw_span route, struct gw_span levels[GW_LEVELS_MAX])
{
	size_t count = 0;

	for (;;) {
		const uint8_t *slash = route.len > 0 ? memchr(route.at, '/', route.len) : NULL;
		size_t len = slash != NULL ? (size_t)(slash - route.at) : route.len;
		if (count == GW_LEVELS_MAX)
			return 0;
		levels[count++] = gw_span(route.at, len);
		if (slash == NULL)
			return count;
		route = gw_span(slash + 1, route.len - len - 1);
	}
}

size_t
gw_profiles_match(const struct gw_profiles *profiles, enum gw_door door, struct gw_span route, struct gw_match *out, size_t cap)
{
	struct gw_span levels[GW_LEVELS_MAX];
	size_t count = split_levels(route, levels), found = 0;

	for (size_t i = 0; i < profiles->routes_count && found < cap; i++) {
		if (profiles->routes[i].route->door != door || !route_match(profiles->routes[i].route, levels, count, &out[found]))
			continue;
		out[found++].profile = profiles->routes[i].profile;
	}
	return found;
}

size_t
gw_profile_match(const struct gw_profile *profile, enum gw_door door, struct gw_span route, struct gw_match *out, size_t cap)
{
	struct gw_span levels[GW_LEVELS_MAX];
	size_t count = split_levels(route, levels), found = 0;

	for (size_t i = 0; i < profile->routes_count && found < cap; i++)
		if (profile->routes[i].door == door && route_match(&profile->routes[i], levels, count, &out[found]))
			out[found++].profile = profile;
	return found;
}

struct gw_span
gw_match_capture(const struct gw_match *match, const char *name)
{
	for (size_t i = 0; i < match->count; i++)
		if (gw_span_is(match->captures[i].name, name))
			return match->captures[i].value;
	return (struct gw_span){ NULL, 0 };
}

// ---- names ----

static enum gw_part_kind
part_kind(struct gw_span name)
{
	if (gw_span_is(name, "device"))
		return GW_PART_DEVICE;
	if (gw_span_is(name, "field") || gw_span_is(name, "signal"))
		return GW_PART_FIELD;
	return gw_span_is(name, "instance") ? GW_PART_INSTANCE : GW_PART_OTHER;
}

bool
gw_name_compile(const char *text, struct gw_name_pattern *pattern)
{
	const char *at = strchr(text, '{');
	size_t fields = 0;

	*pattern = (struct gw_name_pattern){ .prefix = gw_span(text, at != NULL ? (size_t)(at - text) : strlen(text)) };
	while (at != NULL) {
		const char *end = strchr(at, '}'), *next;
		struct gw_span name;
		if (end == NULL || pattern->count == GW_NAME_PARTS_MAX)
			return false;
		name = gw_span(at + 1, (size_t)(end - at - 1));
		next = strchr(end, '{');
		if (!capture_name_ok(name) || next == end + 1) // two captures with nothing between cannot be told apart
			return false;
		pattern->parts[pattern->count].kind = part_kind(name);
		fields += part_kind(name) == GW_PART_FIELD;
		pattern->parts[pattern->count++].after = gw_span(end + 1, next != NULL ? (size_t)(next - end - 1) : strlen(end + 1));
		at = next;
	}
	return fields == 1 && strchr(text, '}') != NULL;
}

bool
gw_instance_parse(struct gw_span text, uint16_t *instance)
{
	uint32_t value = 0;

	if (text.len == 0 || text.len > 5 || (text.at[0] == '0' && text.len > 1))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(text.at[i] - '0');
	}
	*instance = (uint16_t)value;
	return value <= UINT16_MAX;
}

static bool
take_part(enum gw_part_kind kind, struct gw_span value, struct gw_name_match *match)
{
	if (value.len == 0)
		return false;
	if (kind == GW_PART_INSTANCE)
		return match->has_instance = gw_instance_parse(value, &match->instance);
	if (kind == GW_PART_DEVICE)
		match->device = value;
	else if (kind == GW_PART_FIELD)
		match->field = value;
	return true;
}

static bool
ends_with(struct gw_span text, struct gw_span end)
{
	return text.len >= end.len && memcmp(text.at + text.len - end.len, end.at, end.len) == 0;
}

// Where the last occurrence of needle in text begins; text.len where there is none.
static size_t
last_of(struct gw_span text, struct gw_span needle)
{
	for (size_t at = text.len >= needle.len ? text.len - needle.len + 1 : 0; at-- > 0;)
		if (memcmp(text.at + at, needle.at, needle.len) == 0)
			return at;
	return text.len;
}

bool
gw_name_match(const struct gw_name_pattern *pattern, struct gw_span name, struct gw_name_match *match)
{
	struct gw_span left = name;

	*match = (struct gw_name_match){ 0 };
	if (name.len < pattern->prefix.len || name.len > GW_RESOLVED_MAX || memcmp(name.at, pattern->prefix.at, pattern->prefix.len) != 0)
		return false;
	left = gw_span(name.at + pattern->prefix.len, name.len - pattern->prefix.len);
	for (size_t i = pattern->count; i-- > 0;) {
		struct gw_span value;
		if (!ends_with(left, pattern->parts[i].after))
			return false;
		left.len -= pattern->parts[i].after.len;
		value = left;
		if (i > 0) { // as little as it can: from behind the literal before it
			struct gw_span before = pattern->parts[i - 1].after;
			size_t at = last_of(left, before);
			if (at == left.len)
				return false;
			value = gw_span(left.at + at + before.len, left.len - at - before.len);
			left.len = at + before.len;
		}
		if (!take_part(pattern->parts[i].kind, value, match))
			return false;
	}
	return true;
}
