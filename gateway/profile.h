// SPDX-License-Identifier: Apache-2.0
// Device profiles: how one make of device speaks (schemas/profiles/*.yaml; format in schemas/profile-format.md): routes with captures,
// payload format, field to signal, instance and unit, sentinels, what `%` means, time and zone. Parsed and compiled once at start,
// then constant; any thread.
#ifndef GW_PROFILE_H
#define GW_PROFILE_H

#include "gateway/error.h"
#include "gateway/nomenclature.h"
#include "gateway/record.h"
#include "gateway/span.h"

struct gw_profiles; // the set
struct gw_profile;  // one

// Loads the built-in profiles, then every *.yaml of dir (NULL: none); a file's profile replaces a built-in one of the same name.
enum gw_error gw_profiles_load(const char *dir, struct gw_profiles **profiles, struct gw_why *why);
// A set of one profile from its YAML text, for tests, fuzzers and checking a file; file is the name for error messages.
enum gw_error gw_profiles_load_text(const char *file, struct gw_span yaml, struct gw_profiles **profiles, struct gw_why *why);
void gw_profiles_free(struct gw_profiles *profiles);
const struct gw_profile *gw_profile_by_name(const struct gw_profiles *profiles, struct gw_span name);
const struct gw_profile *gw_profile_at(const struct gw_profiles *profiles, size_t i); // NULL past the end
const char *gw_profile_name(const struct gw_profile *profile);
const char *gw_profile_description(const struct gw_profile *profile);

// Signals that a profile can give, for GET of a device's latest readings and for listings: i from 0, false past the end.
bool gw_profile_signal(const struct gw_profile *profile, size_t i, const struct gw_signal **signal, uint16_t *instance);
// The routes of a profile as text ("ward/{device}/vitals"), NULL past the end; door MQTT or COAP.
const char *gw_profile_route(const struct gw_profile *profile, enum gw_door door, size_t i);

// A payload that the profile takes, terminated, its content format, and the signal in it: for lines to paste. Returns its length, 0 for none or
// where cap is short.
size_t gw_profile_example(const struct gw_profile *profile, char *out, size_t cap, uint32_t *content_format, const struct gw_signal **signal);

// Whether a payload of this profile can name the device that a reading is of (SenML names with {device}).
bool gw_profile_names_device(const struct gw_profile *profile);

// What a route's pattern caught. A route that names no {device} leaves device empty.
#define GW_CAPTURES_MAX 8
struct gw_match {
	const struct gw_profile *profile;
	struct gw_span device;
	struct { struct gw_span name, value; } captures[GW_CAPTURES_MAX];
	size_t count;
};
// The captured value of a name, the empty span where there is none.
struct gw_span gw_match_capture(const struct gw_match *match, const char *name);
// Matches a topic (MQTT) or path without leading slash (CoAP) against the set's routes: fills up to cap matches, most
// specific first (literal levels beat captures); returns how many.
size_t gw_profiles_match(const struct gw_profiles *profiles, enum gw_door door, struct gw_span route, struct gw_match *out, size_t cap);
// The same among the routes of one profile, in the order in which they stand there.
size_t gw_profile_match(const struct gw_profile *profile, enum gw_door door, struct gw_span route, struct gw_match *out, size_t cap);

#endif
