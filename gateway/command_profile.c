// SPDX-License-Identifier: Apache-2.0
// Commands on profiles: what devices the gateway understands, by which routes, with which signals. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/nearest.h"

static void
add_routes(const struct gw_profile *profile, enum gw_door door, const char *key, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, object, key);
	const char *route;

	for (size_t i = 0; (route = gw_profile_route(profile, door, i)) != NULL; i++)
		yyjson_mut_arr_add_strcpy(doc, list, route);
}

static void
add_signals(const struct gw_profile *profile, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, object, "signals"), *item;
	const struct gw_signal *signal;
	uint16_t instance;

	for (size_t i = 0; gw_profile_signal(profile, i, &signal, &instance); i++) {
		item = yyjson_mut_arr_add_obj(doc, list);
		yyjson_mut_obj_add_strcpy(doc, item, "signal", signal->name);
		yyjson_mut_obj_add_uint(doc, item, "instance", instance);
		yyjson_mut_obj_add_strcpy(doc, item, "mdc", signal->refid);
		if (signal->unit != NULL)
			yyjson_mut_obj_add_strcpy(doc, item, "unit", signal->unit->ucum);
	}
}

static bool
emit_profile(struct gw_call *call, const struct gw_profile *profile, bool whole)
{
	const char *description = gw_profile_description(profile);
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return false;
	yyjson_mut_obj_add_strcpy(doc, object, "profile", gw_profile_name(profile));
	gw_json_span(doc, object, "description", gw_span_text(description != NULL ? description : ""));
	add_routes(profile, GW_DOOR_MQTT, "mqtt", doc, object);
	add_routes(profile, GW_DOOR_COAP, "coap", doc, object);
	if (whole)
		add_signals(profile, doc, object);
	return gw_call_emit(call, doc);
}

enum gw_error
gw_command_profile_list(struct gw_call *call)
{
	const struct gw_profile *profile;

	for (size_t i = 0; (profile = gw_profile_at(call->core->profiles, i)) != NULL && emit_profile(call, profile, false); i++)
		;
	return GW_OK;
}

enum gw_error
gw_command_profile_show(struct gw_call *call)
{
	const char *name = gw_call_text(call, "name");
	const struct gw_profile *profile;
	struct gw_nearest nearest;
	char hint[160];

	if (name == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which profile?");
	profile = gw_profile_by_name(call->core->profiles, gw_span_text(name));
	if (profile != NULL) {
		(void)emit_profile(call, profile, true);
		return GW_OK;
	}
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; (profile = gw_profile_at(call->core->profiles, i)) != NULL; i++)
		gw_nearest_try(&nearest, gw_profile_name(profile));
	return gw_fail(call->why, GW_E_NOT_FOUND, "there is no profile \"%.64s\"%s", name, gw_nearest_words(&nearest, hint));
}
