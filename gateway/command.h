// SPDX-License-Identifier: Apache-2.0
// Commands: the same handlers serve the running daemon's socket and, when no daemon runs, the command line's own process.
// Rows stand in gateway/commands.def. A handler reads its arguments, writes its output as JSON lines one by one, and returns.
#ifndef GW_COMMAND_H
#define GW_COMMAND_H

#include "gateway/daemon.h"

#include <stdatomic.h>
#include <yyjson.h>

struct gw_reload;

// One command being done. The handler's thread only.
struct gw_call {
	struct gw_core *core;
	const struct gw_parts *parts;   // NULL: no daemon runs. To be held while one is used (gw_parts_hold)
	struct gw_reload *reload;       // NULL: no daemon runs
	yyjson_val *arguments;          // object; texts, or true for flags
	const char *who;                // "uid 1000 (alice)": at most GW_ID_MAX bytes
	const atomic_bool *stopping;    // end soon; may be NULL
	// Takes one line of output without its newline; false: nobody reads any more, so end.
	bool (*line)(void *arg, const char *text, size_t len);
	void *arg;
	bool has_data_fd;               // a descriptor came with the request, for output that is no lines; the handler borrows it
	int data_fd;
	struct gw_why *why;
};

// Does the command that arguments name: {"command": "device add", "id": ...}.
enum gw_error gw_command_do(struct gw_call *call);

// ---- For handlers ----

typedef enum gw_error gw_command_fn(struct gw_call *call);

// A text argument, NULL where it was not given (or given without a value).
const char *gw_call_text(const struct gw_call *call, const char *name);
bool gw_call_flag(const struct gw_call *call, const char *name); // given, with or without a value
// A number in bounds; fallback where it was not given.
enum gw_error gw_call_number(const struct gw_call *call, const char *name, int64_t low, int64_t high, int64_t fallback, int64_t *out);
// A time (gw_time_parse); fallback where it was not given.
enum gw_error gw_call_time(const struct gw_call *call, const char *name, int64_t fallback, int64_t *out);
bool gw_call_ending(const struct gw_call *call);

// Writes doc as a line and frees it. False: end.
bool gw_call_emit(struct gw_call *call, yyjson_mut_doc *doc);
// A new document with an object as its root; NULL: out of memory.
yyjson_mut_doc *gw_call_object(yyjson_mut_val **object);
// Times and spans as members.
void gw_json_time(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t us);
void gw_json_span(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, struct gw_span text);
// Text that a person may see: bytes that are no UTF-8 or no text as \xNN.
bool gw_span_is_text(struct gw_span bytes);

// Records "who did what" (GW_RECORD_COMMAND) in a ticket of the caller's.
enum gw_error gw_call_record(const struct gw_call *call, struct gw_ticket *ticket, struct gw_span device, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// The same in a ticket of its own, of what is done already.
enum gw_error gw_call_note(struct gw_call *call, const char *words);

#endif
