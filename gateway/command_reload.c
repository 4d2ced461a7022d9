// SPDX-License-Identifier: Apache-2.0
// `reload`: asks main's thread for it and tells what came of it. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/reload.h"

#include <string.h>

static void
tell(struct gw_call *call, const char *lines)
{
	for (size_t len; *lines != '\0'; lines += len + (lines[len] == '\n')) {
		yyjson_mut_val *object;
		yyjson_mut_doc *doc = gw_call_object(&object);

		len = strcspn(lines, "\n");
		if (doc == NULL)
			return;
		gw_json_span(doc, object, "done", gw_span(lines, len));
		if (!gw_call_emit(call, doc))
			return;
	}
}

enum gw_error
gw_command_reload(struct gw_call *call)
{
	struct gw_reload_outcome outcome;
	enum gw_error error;

	if (call->reload == NULL)
		return gw_fail(call->why, GW_E_NOT_FOUND, "the gateway does not run: it reads its configuration when it starts");
	gw_diag(GW_NOTICE, "gateway.reload", "asked for by %s", call->who);
	gw_reload_ask(call->reload, &outcome);
	tell(call, outcome.lines);
	if (outcome.error != GW_OK)
		return gw_fail(call->why, outcome.error, "%s", outcome.why.text);
	error = gw_call_note(call, "reload");
	return error;
}
