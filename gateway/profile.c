// SPDX-License-Identifier: Apache-2.0
// The set of profiles: built-in ones, then those of a folder, which replace built-in ones of the same name. Start only; then constant.
#include "gateway/profile.h"
#include "gateway/embedded.h"
#include "gateway/profile_table.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 20)
#define PROFILES_MAX 1024

static struct gw_profile **
place_of(struct gw_profiles *set, const char *name)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->at[i]->name, name) == 0)
			return &set->at[i];
	return NULL;
}

// Takes the profile over.
static enum gw_error
put_profile(struct gw_profiles *set, struct gw_profile *profile, const char *file, struct gw_why *why)
{
	struct gw_profile **place = place_of(set, profile->name), **grown;

	if (place != NULL) {
		gw_profile_free(*place);
		*place = profile;
		return GW_OK;
	}
	grown = set->count < PROFILES_MAX ? realloc(set->at, (set->count + 1) * sizeof(*grown)) : NULL;
	if (grown == NULL) {
		gw_profile_free(profile);
		return gw_fail(why, GW_E_CONFIG, "%s: more than %d profiles", file, PROFILES_MAX);
	}
	set->at = grown;
	set->at[set->count++] = profile;
	return GW_OK;
}

static enum gw_error
add_text(struct gw_profiles *set, const char *file, struct gw_span text, struct gw_why *why)
{
	struct gw_yaml_profile *yaml;
	struct gw_profile *profile;
	enum gw_error error = gw_yaml_profile_load(file, text, &yaml, why);

	if (error == GW_OK)
		error = gw_profile_compile(file, text, yaml, &profile, why);
	return error == GW_OK ? put_profile(set, profile, file, why) : error;
}

static enum gw_error
add_file(struct gw_profiles *set, const char *path, struct gw_why *why)
{
	FILE *file = fopen(path, "rbe");
	char *text = malloc(FILE_BYTES_MAX);
	enum gw_error error;
	size_t len;

	if (file == NULL || text == NULL) {
		error = gw_fail(why, file == NULL ? GW_E_CONFIG : GW_E_MEMORY, "%s: %s", path, strerror(errno));
		goto end;
	}
	len = fread(text, 1, FILE_BYTES_MAX, file);
	if (ferror(file) || len == FILE_BYTES_MAX)
		error = gw_fail(why, GW_E_CONFIG, "%s: cannot be read, or is larger than %u bytes", path, FILE_BYTES_MAX);
	else
		error = add_text(set, path, gw_span(text, len), why);
end:
	free(text);
	if (file != NULL)
		fclose(file);
	return error;
}

static int
is_yaml(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && ((len > 5 && strcmp(entry->d_name + len - 5, ".yaml") == 0) || (len > 4 && strcmp(entry->d_name + len - 4, ".yml") == 0));
}

static enum gw_error
add_dir(struct gw_profiles *set, const char *dir, struct gw_why *why)
{
	struct dirent **names;
	enum gw_error error = GW_OK;
	int count = scandir(dir, &names, is_yaml, alphasort);

	if (count < 0)
		return gw_fail(why, GW_E_CONFIG, "profiles' folder %s: %s", dir, strerror(errno));
	for (int i = 0; i < count; i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (error == GW_OK)
			error = add_file(set, path, why);
		free(names[i]);
	}
	free(names);
	return error;
}

// ---- routes of all, most specific first ----

// Insertion keeps equals in their order; there are few.
static void
put_route(struct gw_profiles *set, const struct gw_route *route, const struct gw_profile *profile)
{
	size_t at = set->routes_count++;

	for (; at > 0 && gw_route_specific(route, set->routes[at - 1].route) < 0; at--)
		set->routes[at] = set->routes[at - 1];
	set->routes[at].route = route;
	set->routes[at].profile = profile;
}

static enum gw_error
gather_routes(struct gw_profiles *set, struct gw_why *why)
{
	size_t count = 1;

	for (size_t i = 0; i < set->count; i++)
		count += set->at[i]->routes_count;
	set->routes = calloc(count, sizeof(*set->routes));
	if (set->routes == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < set->count; i++)
		for (size_t k = 0; k < set->at[i]->routes_count; k++)
			put_route(set, &set->at[i]->routes[k], set->at[i]);
	return GW_OK;
}

// ---- the public side ----

static enum gw_error
finish(struct gw_profiles *set, enum gw_error error, struct gw_profiles **profiles, struct gw_why *why)
{
	if (error == GW_OK)
		error = gather_routes(set, why);
	if (error == GW_OK)
		*profiles = set;
	else
		gw_profiles_free(set);
	return error;
}

enum gw_error
gw_profiles_load(const char *dir, struct gw_profiles **profiles, struct gw_why *why)
{
	struct gw_profiles *set = calloc(1, sizeof(*set));
	enum gw_error error = set != NULL ? gw_nomenclature_open(why) : gw_fail(why, GW_E_MEMORY, "out of memory");

	for (const struct vg_embedded *e = vg_profiles_embedded; e->name != NULL && error == GW_OK; e++)
		error = add_text(set, e->name, gw_span(e->bytes, e->len), why);
	if (error == GW_OK && dir != NULL && *dir != '\0')
		error = add_dir(set, dir, why);
	return finish(set, error, profiles, why);
}

enum gw_error
gw_profiles_load_text(const char *file, struct gw_span yaml, struct gw_profiles **profiles, struct gw_why *why)
{
	struct gw_profiles *set = calloc(1, sizeof(*set));
	enum gw_error error = set != NULL ? gw_nomenclature_open(why) : gw_fail(why, GW_E_MEMORY, "out of memory");

	if (error == GW_OK)
		error = add_text(set, file, yaml, why);
	return finish(set, error, profiles, why);
}

void
gw_profiles_free(struct gw_profiles *profiles)
{
	if (profiles == NULL)
		return;
	for (size_t i = 0; i < profiles->count; i++)
		gw_profile_free(profiles->at[i]);
	free(profiles->at);
	free(profiles->routes);
	free(profiles);
}

const struct gw_profile *
gw_profile_by_name(const struct gw_profiles *profiles, struct gw_span name)
{
	for (size_t i = 0; i < profiles->count; i++)
		if (gw_span_is(name, profiles->at[i]->name))
			return profiles->at[i];
	return NULL;
}

const struct gw_profile *
gw_profile_at(const struct gw_profiles *profiles, size_t i)
{
	return i < profiles->count ? profiles->at[i] : NULL;
}

const char *
gw_profile_name(const struct gw_profile *profile)
{
	return profile->name;
}

const char *
gw_profile_description(const struct gw_profile *profile)
{
	return profile->description != NULL ? profile->description : "";
}

bool
gw_profile_signal(const struct gw_profile *profile, size_t i, const struct gw_signal **signal, uint16_t *instance)
{
	if (i >= profile->rules_count)
		return false;
	*signal = profile->rules[i].signal;
	*instance = profile->rules[i].instance;
	return true;
}

const char *
gw_profile_route(const struct gw_profile *profile, enum gw_door door, size_t i)
{
	for (size_t k = 0; k < profile->routes_count; k++)
		if (profile->routes[k].door == door && i-- == 0)
			return profile->routes[k].text;
	return NULL;
}

bool
gw_profile_names_device(const struct gw_profile *profile)
{
	for (size_t i = 0; i < profile->names_count; i++)
		for (size_t k = 0; k < profile->names[i].count; k++)
			if (profile->names[i].parts[k].kind == GW_PART_DEVICE)
				return true;
	return false;
}
