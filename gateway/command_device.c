// SPDX-License-Identifier: Apache-2.0
// Commands on devices. Secrets leave here once: in the answer to the command that made them. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_device.h"
#include "gateway/nearest.h"
#include "gateway/text_out.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PSK_LETTERS 28
#define PASSWORD_LETTERS 20

// What is shown of a device, in this order; secrets are not among them.
static const char *const shown[] = {
	"id", "profile", "ward", "bed", "manufacturer", "model", "serial", "asset", "mac", "eui64", "cert_subject", "psk_identity", "user",
	"speaks_for",
};

static enum gw_error
no_device(const struct gw_call *call, const struct gw_snapshot *snapshot, const char *id)
{
	const struct gw_device *device;
	struct gw_nearest nearest;
	char hint[160];

	gw_nearest_init(&nearest, gw_span_text(id));
	for (size_t i = 0; (device = gw_snapshot_at(snapshot, i)) != NULL; i++)
		gw_nearest_try(&nearest, device->id);
	return gw_fail(call->why, GW_E_NOT_FOUND, "device \"%.64s\" is not in the registry%s", id, gw_nearest_words(&nearest, hint));
}

// Device time of its newest reading, INT64_MIN for none: looks up each signal that its profile can give, in memory.
static int64_t
last_seen(const struct gw_core *core, const struct gw_device *device)
{
	const struct gw_profile *profile = gw_profile_by_name(core->profiles, gw_span_text(device->profile));
	uint64_t name = gw_name_hash(gw_span_text(device->id));
	int64_t newest = INT64_MIN, time_us;
	const struct gw_signal *signal;
	uint16_t instance;

	for (size_t i = 0; profile != NULL && gw_profile_signal(profile, i, &signal, &instance); i++) {
		if (gw_journal_newest(core->journal, gw_series_hash(name, signal->code, instance), &time_us) != 0 && time_us > newest)
			newest = time_us;
	}
	return newest;
}

// How far the device's clock is off, as frames since the start have shown. "measuring": nothing stayed long enough; "in doubt": the last frames did not fit.
static void
add_clock(const struct gw_core *core, const struct gw_device *device, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_clock_shown figures;
	char text[64];

	if (!gw_device_clocks_shown(gw_registry_clocks(core->registry), gw_span_text(device->id), &figures))
		return;
	yyjson_mut_obj_add_str(doc, object, "clock", !figures.known ? "measuring" : figures.doubted ? "in doubt" : "measured");
	if (figures.known) {
		snprintf(text, sizeof(text), "%+.1f s", (double)-figures.offset_us / 1e6);
		yyjson_mut_obj_add_strcpy(doc, object, "clock_ahead", text);
		snprintf(text, sizeof(text), "%.1f s", (double)figures.uncertainty_us / 1e6);
		yyjson_mut_obj_add_strcpy(doc, object, "clock_uncertainty", text);
	}
	yyjson_mut_obj_add_uint(doc, object, "clock_steps", figures.epoch);
}

static bool
emit_device(struct gw_call *call, const struct gw_device *device)
{
	size_t cap = 160 + device->speaks_for_count * (GW_ID_MAX + 1);
	char *text = malloc(cap);
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);
	int64_t seen;

	if (text == NULL || doc == NULL) {
		free(text);
		yyjson_mut_doc_free(doc);
		return false;
	}
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		yyjson_mut_obj_add_strcpy(doc, object, shown[i], gw_device_get(device, shown[i], text, cap));
	free(text);
	yyjson_mut_obj_add_bool(doc, object, "test", device->test);
	yyjson_mut_obj_add_bool(doc, object, "psk", device->psk_len > 0);
	yyjson_mut_obj_add_bool(doc, object, "password", device->password_hash[0] != '\0');
	yyjson_mut_obj_add_str(doc, object, "state", device->disabled ? "disabled" : "enabled");
	if ((seen = last_seen(call->core, device)) != INT64_MIN)
		gw_json_time(doc, object, "last_reading", seen);
	add_clock(call->core, device, doc, object);
	gw_json_time(doc, object, "created", device->created_us);
	gw_json_time(doc, object, "changed", device->changed_us);
	return gw_call_emit(call, doc);
}

enum gw_error
gw_command_device_show(struct gw_call *call)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(call->core->registry);
	const char *id = gw_call_text(call, "id");
	const struct gw_device *device = id != NULL ? gw_snapshot_device(snapshot, gw_span_text(id)) : NULL;
	enum gw_error error = GW_OK;

	if (id == NULL)
		error = gw_fail(call->why, GW_E_ARGUMENT, "which device?");
	else if (device == NULL)
		error = no_device(call, snapshot, id);
	else
		(void)emit_device(call, device);
	gw_snapshot_put(snapshot);
	return error;
}

enum gw_error
gw_command_device_list(struct gw_call *call)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(call->core->registry);
	const struct gw_device *device;

	for (size_t i = 0; (device = gw_snapshot_at(snapshot, i)) != NULL && emit_device(call, device); i++)
		;
	gw_snapshot_put(snapshot);
	return GW_OK;
}

// ---- disable, enable, remove ----

static enum gw_error
change_one(struct gw_call *call, enum gw_change_kind kind, const char *done)
{
	const char *id = gw_call_text(call, "id");
	struct gw_change change = { .kind = kind, .who = call->who };
	const struct gw_snapshot *snapshot;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	enum gw_error error;

	if (id == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which device?");
	change.id = gw_span_text(id);
	error = gw_registry_change(call->core->registry, &change, call->why);
	if (error == GW_E_NOT_FOUND) {
		snapshot = gw_snapshot_get(call->core->registry);
		error = no_device(call, snapshot, id);
		gw_snapshot_put(snapshot);
	}
	if (error != GW_OK || (doc = gw_call_object(&object)) == NULL)
		return error;
	yyjson_mut_obj_add_strcpy(doc, object, "device", id);
	yyjson_mut_obj_add_str(doc, object, "state", done);
	(void)gw_call_emit(call, doc);
	return GW_OK;
}

enum gw_error
gw_command_device_disable(struct gw_call *call)
{
	return change_one(call, GW_CHANGE_DISABLE, "disabled");
}

enum gw_error
gw_command_device_enable(struct gw_call *call)
{
	return change_one(call, GW_CHANGE_ENABLE, "enabled");
}

enum gw_error
gw_command_device_remove(struct gw_call *call)
{
	return change_one(call, GW_CHANGE_REMOVE, "removed");
}

// ---- add ----

void
gw_new_secret(char *out, size_t letters)
{
	static const char alphabet[] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

	_Static_assert(sizeof(alphabet) - 1 == 32, "5 bits a letter");
	for (size_t i = 0; i < letters; i++)
		out[i] = alphabet[randombytes_uniform(sizeof(alphabet) - 1)];
	out[letters] = '\0';
}

// 28 letters hold 140 random bits. The key is text because half of the tools for constrained devices take it as text only, and because somebody types it.
void
gw_new_device_generate_psk(struct gw_new_device *new)
{
	char text[PSK_LETTERS + 1];

	gw_new_secret(text, PSK_LETTERS);
	memcpy(new->device.psk, text, PSK_LETTERS);
	new->device.psk_len = PSK_LETTERS;
	new->psk_made = true;
	sodium_memzero(text, sizeof(text));
}

enum gw_error
gw_new_device_password(struct gw_new_device *new, const char *password, struct gw_why *why)
{
	enum gw_error error;

	if (password == NULL) {
		gw_new_secret(new->password, PASSWORD_LETTERS);
		password = new->password;
	}
	error = gw_registry_hash_password(gw_span_text(password), new->device.password_hash);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "a password has 1 to 1024 bytes");
}

enum gw_error
gw_new_device_profile(const struct gw_core *core, const struct gw_new_device *new, struct gw_why *why)
{
	const char *name = new->device.profile;
	const struct gw_profile *profile;
	struct gw_nearest nearest;
	char hint[160];

	if (name[0] == '\0' || gw_profile_by_name(core->profiles, gw_span_text(name)) != NULL)
		return GW_OK;
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; (profile = gw_profile_at(core->profiles, i)) != NULL; i++)
		gw_nearest_try(&nearest, gw_profile_name(profile));
	return gw_fail(why, GW_E_NOT_FOUND, "there is no profile \"%.64s\"%s (see: vitalgate profile list)", name, gw_nearest_words(&nearest, hint));
}

void
gw_new_device_fini(struct gw_new_device *new)
{
	gw_device_fini(&new->device);
	gw_pki_free(&new->certificate);
	gw_pki_free(&new->key);
	sodium_memzero(new->password, sizeof(new->password));
}

// Options that are fields of the device, under the option's name.
static enum gw_error
take_fields(struct gw_call *call, struct gw_new_device *new)
{
	static const char *const fields[][2] = {
		{ "id", "id" }, { "profile", "profile" }, { "psk-key", "psk" }, { "psk-identity", "psk_identity" }, { "cert-subject", "cert_subject" },
		{ "user", "user" }, { "speaks-for", "speaks_for" }, { "bed", "bed" }, { "ward", "ward" }, { "eui64", "eui64" },
		{ "manufacturer", "manufacturer" }, { "model", "model" }, { "serial", "serial" }, { "asset", "asset" }, { "mac", "mac" },
	};
	enum gw_error error = GW_OK;
	const char *text;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && error == GW_OK; i++) {
		if ((text = gw_call_text(call, fields[i][0])) != NULL)
			error = gw_device_set(&new->device, fields[i][1], gw_span_text(text), call->why);
	}
	new->device.test = gw_call_flag(call, "test");
	return error;
}

static enum gw_error
take_credentials(struct gw_call *call, struct gw_new_device *new)
{
	struct gw_device *device = &new->device;
	bool password = gw_call_flag(call, "password") || gw_call_flag(call, "user");

	if ((gw_call_flag(call, "cert-subject") || gw_call_flag(call, "issue") || gw_call_flag(call, "csr")) && device->subject[0] == '\0')
		memcpy(device->subject, device->id, sizeof(device->id));
	if (device->psk_len == 0 && (gw_call_flag(call, "psk") || gw_call_flag(call, "psk-identity") || (!password && device->subject[0] == '\0')))
		gw_new_device_generate_psk(new);
	return password ? gw_new_device_password(new, gw_call_text(call, "password"), call->why) : GW_OK;
}

// What a capture of a route stands for, as far as it is known of this device: itself as a word where it is not.
static struct gw_span
captured(const struct gw_device *device, const struct gw_signal *signal, struct gw_span name)
{
	const struct {
		const char *name, *value;
	} known[] = {
		{ "device", device->id }, { "ward", device->ward }, { "bed", device->bed }, { "signal", signal != NULL ? signal->name : "" }, { "instance", "0" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (gw_span_is(name, known[i].name) && known[i].value[0] != '\0')
			return gw_span_text(known[i].value);
	}
	return name;
}

// "ward/{ward}/{device}/vitals" -> "ward/3a/mon-1/vitals"
static void
fill_route(const struct gw_device *device, const struct gw_signal *signal, const char *pattern, char *out, size_t cap)
{
	struct gw_text_out to = { out, cap - 1, 0 };

	while (*pattern != '\0') {
		size_t len = strcspn(pattern, "{");

		gw_put_span(&to, gw_span(pattern, len));
		pattern += len;
		if (*pattern == '\0')
			break;
		len = strcspn(++pattern, "}");
		gw_put_span(&to, captured(device, signal, gw_span(pattern, len)));
		pattern += len + (pattern[len] == '}');
	}
	out[to.len < to.cap ? to.len : to.cap] = '\0';
}

// What a first reading looks like and where it goes: an example of the profile's payload and its first routes.
void
gw_device_example(const struct gw_core *core, const struct gw_device *device, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	const struct gw_profile *profile = gw_profile_by_name(core->profiles, gw_span_text(device->profile));
	char route[GW_ROUTE_MAX + 1], payload[512];
	const struct gw_signal *signal = NULL;
	uint32_t content_format;
	const char *pattern;

	if (profile == NULL || gw_profile_example(profile, payload, sizeof(payload), &content_format, &signal) == 0)
		return;
	yyjson_mut_obj_add_strcpy(doc, object, "payload", payload);
	yyjson_mut_obj_add_uint(doc, object, "content_format", content_format);
	if (core->config->mqtt_enabled && (pattern = gw_profile_route(profile, GW_DOOR_MQTT, 0)) != NULL) {
		fill_route(device, signal, pattern, route, sizeof(route));
		yyjson_mut_obj_add_strcpy(doc, object, "mqtt_topic", route);
		yyjson_mut_obj_add_int(doc, object, "mqtt_port", core->config->mqtt_port);
	}
	if (core->config->coap_enabled && (pattern = gw_profile_route(profile, GW_DOOR_COAP, 0)) != NULL) {
		fill_route(device, signal, pattern, route, sizeof(route));
		yyjson_mut_obj_add_strcpy(doc, object, "coap_path", route);
		yyjson_mut_obj_add_int(doc, object, "coap_port", core->config->coap_port);
	}
}

static void
emit_added(struct gw_call *call, const struct gw_new_device *new)
{
	const char *password = gw_call_text(call, "password");
	struct gw_reach reach;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	gw_reach_of(call->core->config, gw_call_text(call, "host"), &reach);
	yyjson_mut_obj_add_strcpy(doc, object, "device", new->device.id);
	yyjson_mut_obj_add_strcpy(doc, object, "profile", new->device.profile);
	gw_new_device_secrets(new, doc, object);
	if (password != NULL)
		yyjson_mut_obj_add_strcpy(doc, object, "password", password);
	gw_device_example(call->core, &new->device, doc, object);
	gw_handout(call->core, &reach, new, password, doc, object);
	(void)gw_call_emit(call, doc);
}

static enum gw_error
issue_one(struct gw_call *call, struct gw_new_device *new)
{
	struct gw_issuer *issuer;
	struct gw_issue issue;
	enum gw_error error = gw_call_issue(call, &issue);

	if (error != GW_OK || (error = gw_issuer_open(call->core->config, &issuer, call->why)) != GW_OK)
		return error;
	error = gw_new_device_issue(issuer, &issue, new, call->why);
	gw_issuer_close(issuer);
	return error;
}

enum gw_error
gw_command_device_add(struct gw_call *call)
{
	struct gw_new_device new = { 0 };
	struct gw_new_devices made = { &new, 1 };
	struct gw_change change = { .kind = GW_CHANGE_ADD, .count = 1, .who = call->who, .with = gw_new_devices_rows, .arg = &made };
	enum gw_error error;

	if (gw_call_text(call, "id") == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which id?");
	error = take_fields(call, &new);
	if (error == GW_OK && new.device.profile[0] == '\0' && new.device.speaks_for_count == 0)
		error = gw_fail(call->why, GW_E_ARGUMENT, "--profile says how the device speaks (see: vitalgate profile list); only a concentrator "
		    "(--speaks-for) goes without");
	if (error == GW_OK)
		error = gw_new_device_profile(call->core, &new, call->why);
	if (error == GW_OK)
		error = take_credentials(call, &new);
	if (error == GW_OK && (gw_call_flag(call, "issue") || gw_call_flag(call, "csr")))
		error = issue_one(call, &new);
	if (error == GW_OK)
		error = gw_device_complete(&new.device, call->why);
	change.devices = &new.device;
	if (error == GW_OK)
		error = gw_registry_change(call->core->registry, &change, call->why);
	if (error == GW_OK)
		emit_added(call, &new);
	gw_new_device_fini(&new);
	return error;
}
