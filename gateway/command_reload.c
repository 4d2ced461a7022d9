// SPDX-License-Identifier: Apache-2.0
// `reload` and `cert reload`: asks main's thread for it and tells what came of it. Threads: as command.h says.
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

static enum gw_error
ask(struct gw_call *call, enum gw_reload_what what, const char *name)
{
	struct gw_reload_outcome outcome;

	if (call->reload == NULL)
		return gw_fail(call->why, GW_E_NOT_FOUND, "the gateway does not run: it reads its files when it starts");
	gw_diag(GW_NOTICE, "gateway.reload", "%s: asked for by %s", name, call->who);
	gw_reload_ask(call->reload, what, &outcome);
	tell(call, outcome.lines);
	if (outcome.error != GW_OK)
		return gw_fail(call->why, outcome.error, "%s", outcome.why.text);
	return gw_call_note(call, name);
}

enum gw_error
gw_command_reload(struct gw_call *call)
{
	return ask(call, GW_RELOAD_ALL, "reload");
}

enum gw_error
gw_command_cert_reload(struct gw_call *call)
{
	return ask(call, GW_RELOAD_CREDENTIALS, "cert reload");
}
