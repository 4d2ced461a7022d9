// SPDX-License-Identifier: Apache-2.0
// What every adapter and outlet is given, and the shape they all have.
#ifndef GW_CORE_H
#define GW_CORE_H

#include "gateway/config.h"
#include "gateway/diag.h"
#include "gateway/intake.h"
#include "gateway/journal.h"
#include "gateway/line.h"
#include "gateway/patients.h"
#include "gateway/profile.h"
#include "gateway/refusals.h"
#include "gateway/registry.h"
#include "gateway/watch.h"

#include <pthread.h>
#include <yyjson.h>

struct gw_erasure;
struct gw_part;

struct gw_core {
	const struct gw_config *config; // constant for a part; commands get a core of their own, main's has what a reload made of it
	struct gw_journal *journal;
	struct gw_intake *intake;
	struct gw_registry *registry;
	struct gw_patients *patients;
	const struct gw_profiles *profiles;
	struct gw_refusals *refusals;       // NULL: no daemon runs
	int64_t started_us;
	pthread_rwlock_t *parts_lock;       // commands hold it for reading while they use a part; NULL: there are none
	const struct gw_part *const *parts; // every part that the program has, running or not
	size_t part_count;
};

// A reading of the journal, for gw_part.trace. Borrowed for the call.
struct gw_traced {
	struct gw_span device;
	uint64_t position;   // of its record
	uint16_t place;      // of the record's readings, from 0
	int64_t received_us;
	const struct gw_reading *reading;
};

// Takes a document, which is its own from then on; false: nobody wants more.
typedef bool gw_report_fn(void *arg, yyjson_mut_doc *doc);

// An adapter (takes frames in) or an outlet (follows the journal). Started in the table's order, stopped in reverse. main's thread calls all of it,
// except status, report and command, which any thread may call between start and close (holding the parts: gw_parts_hold).
struct gw_part {
	const char *name; // "mqtt", "coap", "bus", "hl7"
	bool outlet;
	bool (*enabled)(const struct gw_config *config);
	// Sections of the configuration (up to NULL) that a reload may change, by stopping, closing and starting this part alone: all others say the same as
	// at the program's start. NULL: what concerns it takes effect at the next start.
	const char *const *sections;
	// What the configuration says for this part, where the table of options cannot tell: names, files, options that belong together. Opens nothing
	// and starts nothing; why says what to do. May be NULL.
	enum gw_error (*check)(const struct gw_config *config, struct gw_why *why);
	// Opens what it needs and starts its threads; on failure nothing of it is left and why tells what to do.
	enum gw_error (*start)(struct gw_core *core, void **part, struct gw_why *why);
	// Asks it to end: returns at once. Devices get their protocol's good-bye.
	void (*stop)(void *part);
	// Waits for its threads, releases all.
	void (*close)(void *part);
	// Adds its state, counts and lag to an object: must not block for long.
	void (*status)(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object);
	// Answers a question ("list", "show"...) with JSON documents; NULL if it knows none.
	enum gw_error (*report)(void *part, yyjson_val *arguments, gw_report_fn *line, void *arg, struct gw_why *why);
	// Does a command for this part ("rewind", "retry"...), NULL if it has none. reply gets words for people.
	enum gw_error (*command)(void *part, yyjson_val *arguments, struct gw_why *reply);
	// Tells fn which files hold what it proves itself and others by (certificates, keys, authorities, lists: also folders), as far as renew takes them up.
	// Opens nothing. NULL: none, or each connection reads them itself.
	void (*files)(const struct gw_config *config, gw_file_fn *fn, void *arg);
	// Reads them again, for whoever connects from now on; who is there stays, but for those whose certificate is good no more: they are cut within a second and
	// recorded. Where anything is wrong with them all stays as it was, and why says what and what to do. NULL together with files.
	enum gw_error (*renew)(void *part, struct gw_why *why);
	// What became of a reading here, from rows of the journal alone: also where the part does not run. Adds an object for each outlet and message to an
	// array: "outlet", "state" and what belongs to it; times as texts. No values, no names, no patients' identifiers. Any thread; NULL if it takes nothing out.
	enum gw_error (*trace)(struct gw_core *core, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *array);
	// Takes a patient's data out of what is the part's own, in rows and in memory, durably when it returns (gateway/erase.h: the journal's readings are erased by
	// then). part NULL: it does not run; its rows may be there all the same. Where the erasure is dry it only counts. May take some seconds: a part that does not get to
	// it gives GW_E_BUSY, and is asked again. Any thread; NULL if it keeps nothing.
	enum gw_error (*erase)(struct gw_core *core, void *part, struct gw_erasure *erasure, struct gw_why *why);
};

extern const struct gw_part gw_mqtt_part, gw_coap_part, gw_bus_part, gw_syslog_part, gw_series_part, gw_export_part, gw_hl7_part, gw_hl7_in_part, gw_pki_part;

#endif
