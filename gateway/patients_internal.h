// SPDX-License-Identifier: Apache-2.0
// Inside patients*.c only: what the model of patients and associations is made of.
//
// What was told is kept as facts: "admitted to bed 3 at 10:00", "transfer cancelled". Where somebody was is derived from all facts together, by the times at
// which they took effect, so that it does not matter in which order they came, and a fact that is cancelled leaves no trace in what is derived.
// Facts are what is stored; intervals are made again when the store is read.
//
// Two locks. `changing` is held by whoever changes (gw_patients_lock): facts, tables and rows are read and written under it. `lines` is held for writing while
// what readers see is changed, for reading by them: intervals, beds, devices and the numbers of patients.
#ifndef GW_PATIENTS_INTERNAL_H
// A device stands at its bed of the registry from a while before it was added: somebody carried it there first, and its first readings come at once.
#define GW_REGISTRY_BEFORE_US INT64_C(600000000)
#define GW_PATIENTS_INTERNAL_H

#include "gateway/journal.h"
#include "gateway/patients.h"

#include <pthread.h>
#include <stdatomic.h>

#define FACTS_MAX 256       // of one patient within the time that is kept
#define FACTS_MEAN 8        // for each patient that may be kept: bounds all facts together
#define DEVICE_FACTS_MAX 4096 // of one device: it may go from patient to patient all day
#define RANGES_MAX 64       // beds and devices that one event may touch; beyond, ranges are joined
#define PATIENT_DEVICES_MAX 256 // with which one patient was associated within the time that is kept
#define DIRTY_MAX 1024      // rows that one event may change: more than all devices of two patients who are merged
#define HOUR_US INT64_C(3600000000)

// ---- Texts side by side, each behind a byte of length: in memory as in rows ----

enum note_text { NOTE_VISIT, NOTE_CLASS, NOTE_ORDER, NOTE_ORDER_AUTHORITY, NOTE_FILLER, NOTE_SOURCE, NOTE_COUNT };
struct note {
	uint16_t len;
	uint8_t bytes[];
};
struct gw_span gw_note_text(const struct note *note, enum note_text which);
bool gw_note_equal(const struct note *a, const struct note *b);

// ---- Hash table of pointers: found by hash, told apart by the caller ----

struct table {
	struct {
		uint64_t hash;
		void *item;
	} *slots;
	uint32_t cap, count;
};
bool gw_table_add(struct table *table, uint64_t hash, void *item); // false: out of memory
void gw_table_remove(struct table *table, uint64_t hash, const void *item);
typedef bool gw_table_match_fn(const void *item, const void *key);
void *gw_table_find(const struct table *table, uint64_t hash, gw_table_match_fn *match, const void *key);
uint32_t gw_table_all(const struct table *table, uint64_t hash, void **items, uint32_t max); // each once

// ---- A line of intervals: sorted by begin; they may overlap ----

struct interval {
	int64_t from_us, to_us;
	int64_t max_to_us;       // the latest end of this one and all before it
	void *what;              // a bed's and a device's: struct patient, after merges; a patient's and placements: struct bed
	const struct note *note; // of the fact that began it
	const struct note *order; // of the order that is carried out meanwhile; NULL: none
	bool flagged;
	bool disputed; // a patient's: another bed holds, too
};
struct line {
	struct interval *at;
	uint32_t count, cap;
};
// What a line says of a moment.
struct look {
	int64_t from_us, to_us;      // the same is true in here
	const struct interval *last; // of those that hold then the one that began last; NULL: none
	bool clash;                  // two of them that are not disputed lead to different things
	bool disputed;               // one of them is
};
bool gw_line_add(struct line *line, const struct interval *interval); // keeps the order; false: out of memory
void gw_line_remove(struct line *line, const struct interval *interval);
void gw_line_look(const struct line *line, int64_t us, struct look *look);
bool gw_interval_same(const struct interval *a, const struct interval *b);
// The hull of the times for which two lines may differ: false where they are the same.
bool gw_line_differ(const struct line *before, const struct line *after, int64_t *from_us, int64_t *to_us);

// ---- Facts ----

// On disk.
enum fact_kind {
	FACT_ADMIT = 1, FACT_TRANSFER, FACT_DISCHARGE,
	FACT_SEEN,            // in a bed, by an update: counts where nothing earlier is known
	FACT_CANCEL_ADMIT, FACT_CANCEL_TRANSFER, FACT_CANCEL_DISCHARGE,
	FACT_LEAVE,           // out of this bed, if there
	FACT_PLACE, FACT_UNPLACE, // a device's
	FACT_BEGIN, FACT_END, // a device with a patient; END without a patient: with everybody
	FACT_ORDER, FACT_ORDER_END, // a patient is to be monitored, in this bed where one is told
	FACT_VOID,   // a device's: what was told of this association by then never was
	FACT_RESUME, // a device's: the association's end never was; where nothing is known of the association, a begin
	FACT_FROM,   // a transfer of that time came from this bed
	FACT_MERGE,  // two numbers are one person: gw_merge_text() as the note's order. Told first counts
	FACT_KINDS
};

struct fact {
	int64_t time_us, told_us;
	struct bed *bed;
	struct patient *patient; // BEGIN, END: as told, before merges
	uint64_t number;         // moves: the patient of whom it was told
	struct note *note;
	uint8_t kind;
	bool cancelled;          // derived
	bool stored;             // a device's: its row is in the store or in a ticket...
	bool by_order;           // ...of a beginning under the key that programs before gave it: without its identifier
};
struct facts {
	struct fact *at; // by time, then by when they were told, then by kind
	uint32_t count, cap;
};

struct bed {
	uint32_t references; // facts and ranges
	uint32_t placed;     // facts that put a device there
	struct line stays;
	uint64_t hash;
	uint8_t len;
	char name[GW_BED_MAX + 1];
};

// A moment at which direct associations end or are flagged.
struct turn {
	int64_t us;
	bool discharge;
	bool other_visit; // a discharge from a visit that is not the one in whose bed the patient lies
	const struct note *note;
};

// Another identifier of a message that meant this patient led to `other`; or the other way round.
struct clash {
	uint64_t other;       // as told, before merges
	int64_t from_us;      // the earliest time of which a message said so
	bool apart;           // somebody said that they are two
	bool mirror;          // the message meant the other: not in this one's row
	uint8_t id_len, authority_len; // 0: not kept
	char text[128];       // the identifier that led there, then its authority
};

struct patient {
	uint64_t number;
	struct patient *into; // merged into
	uint64_t into_number; // while loading
	uint32_t members;     // merged directly into this one
	uint32_t slot;        // in patients->all
	uint32_t direct;      // facts of devices that name this one
	struct clash *clashes;
	uint32_t clash_count;
	int64_t contested_us; // from here on it is in question who that is; GW_TIME_OPEN: it is not; derived
	int64_t touched_us, person_told_us;
	struct facts moves;
	struct line stays;    // what: bed
	struct turn *turns;
	uint32_t turn_count, turn_cap;
	struct device **devices; // with facts that name this one or one that was merged into it
	uint32_t device_count, device_cap;
	uint8_t *person;      // as in its row
	uint16_t person_len;
	bool dirty;
};

struct device {
	uint64_t hash;
	uint32_t slot; // in patients->devices
	struct facts facts;
	struct line places, directs;
	int64_t first_us; // of its placements: before, the registry tells its bed; derived
	bool pruned, pruned_stored; // had placements that are forgotten
	bool holed; // facts of it are damaged in the store: whose it is is in question
	bool dirty;
	uint8_t len;
	char id[GW_ID_MAX + 1];
};

struct range {
	struct bed *bed;
	struct device *device;
	int64_t from_us, to_us;
};

struct gw_patients {
	struct gw_journal *journal;
	struct gw_registry *registry;
	struct gw_patients_options options;
	pthread_mutex_t changing;
	struct gw_source source; // of gw_patients_change and reload
	pthread_rwlock_t lines;
	_Atomic uint64_t generation;
	uint8_t hash_key[16];

	struct table by_number, by_identifier, by_bed, by_device;
	struct table by_filler; // devices of which an association with this identifier was told
	struct table registered;      // hashes of beds at which the registry has devices...
	uint64_t registered_generation; // ...as of this generation of it
	struct patient **all;
	uint32_t count, cap;
	struct device **devices;
	uint32_t device_count, device_cap;
	uint64_t facts; // of all patients and devices
	uint64_t next_number, numbers_end; // numbers below the end are ours by the row "patient-next"
	uint32_t sweep_patient, sweep_device;
	uint64_t events, contradictions; // since start

	// One event's.
	int64_t now_us, horizon_us; // what ended before the horizon is forgotten
	struct range ranges[RANGES_MAX];
	uint32_t range_count;
	struct fact *graves; // dropped facts...
	uint32_t grave_count, grave_cap; // ...whose notes and beds are not free yet
	struct patient *dirty_patients[DIRTY_MAX];
	struct device *dirty_devices[DIRTY_MAX];
	uint32_t dirty_patient_count, dirty_device_count;
	bool failed;  // out of memory half way: memory is to be read again from the store
	bool numbers; // the row of numbers changes
	bool holed;   // patients are damaged in the store: who lies in a bed is in question
	bool disputed; // a patient came to be in two beds
};

// ---- patients_model.c: beds, devices, patients, numbers ----

uint64_t gw_patients_hash(const struct gw_patients *patients, struct gw_span a, struct gw_span b);
struct bed *gw_bed_find(const struct gw_patients *patients, struct gw_span name);
struct bed *gw_bed_get(struct gw_patients *patients, struct gw_span name); // with a reference; NULL: out of memory
void gw_bed_put(struct gw_patients *patients, struct bed *bed);
struct device *gw_tracked_find(const struct gw_patients *patients, struct gw_span id);
struct device *gw_tracked_get(struct gw_patients *patients, struct gw_span id);
void gw_tracked_forget(struct gw_patients *patients, struct device *device);
struct patient *gw_patient_find(const struct gw_patients *patients, uint64_t number);
struct patient *gw_patient_root(struct patient *patient);
// The patient that an identifier means, before merges; NULL: none.
struct patient *gw_patient_by_identifier(const struct gw_patients *patients, const struct gw_identifier *identifier);
struct patient *gw_patient_add(struct gw_patients *patients, uint64_t number);
void gw_patient_forget(struct gw_patients *patients, struct patient *patient);
bool gw_patient_add_device(struct patient *patient, struct device *device);
// Forgets devices that do not name the patient any more; returns how many are left.
uint32_t gw_patient_devices(struct patient *patient);
void gw_patients_empty(struct gw_patients *patients);
struct note *gw_note_new(const struct gw_span texts[NOTE_COUNT]);
// Adds a fact that owns its note and a reference of its bed. The same again changes nothing but by when it was told. On failure (patients->failed) or where
// it is the same, note and reference are given back. True: something has changed.
bool gw_fact_add(struct gw_patients *patients, struct facts *facts, struct fact *fact);
// Without asking whether it is there; false: out of memory.
bool gw_fact_insert(struct gw_patients *patients, struct facts *facts, const struct fact *fact);
// Its note and bed go at the end of the event: what was derived from it may point to them.
void gw_fact_drop(struct gw_patients *patients, struct facts *facts, uint32_t at);
void gw_graves_empty(struct gw_patients *patients);

// ---- patients_person.c ----

struct person { // borrowed from packed bytes
	struct gw_identifier identifiers[GW_IDENTIFIERS_MAX];
	size_t identifier_count;
	struct gw_span texts[8]; // family, given, middle, suffix, prefix, birth, sex, account
};
#define PERSON_BYTES_MAX 4096
void gw_person_unpack(struct gw_span packed, struct person *person);
bool gw_person_check(struct gw_span packed); // whether it can be unpacked
// Takes in what a message says (texts only where `newer`); true: something changed. Out of memory: patients->failed.
bool gw_person_take(struct gw_patients *patients, struct patient *patient, const struct gw_person *said, bool newer);
// Removes an identifier.
bool gw_person_drop(struct gw_patients *patients, struct patient *patient, const struct gw_identifier *identifier);
// Enters the identifiers into the table, or takes them out.
bool gw_person_index(struct gw_patients *patients, struct patient *patient, bool in);

// ---- patients_derive.c ----

// Makes a patient's stays and devices' associations anew; what has changed goes into ranges.
void gw_derive_patient(struct gw_patients *patients, struct patient *patient);
void gw_derive_device(struct gw_patients *patients, struct device *device);
void gw_range_add(struct gw_patients *patients, struct bed *bed, struct device *device, int64_t from_us, int64_t to_us);
// Forget facts that have no effect after patients->horizon_us; true: something was forgotten.
bool gw_moves_prune(struct gw_patients *patients, struct patient *patient);
bool gw_tracked_prune(struct gw_patients *patients, struct device *device, struct gw_ticket *ticket); // deletes their rows

// ---- patients_beds.c ----

#define GW_THREADS_MAX 32       // numbers of one patient that are told apart
#define MOVES_MAX (FACTS_MAX + 4)
void gw_merge_text(uint64_t one, uint64_t other, char out[33]);
// For which numbers of a patient each fact counts, a bit for each; returns how many numbers there are. masks has a place for each of at most MOVES_MAX facts.
unsigned gw_moves_threads(const struct patient *patient, uint32_t *masks);
// Both lines in one, each bed once at a time, marked as disputed where another bed holds, too. What both say is said by the first. False: out of memory.
bool gw_line_dispute(const struct line *stays, const struct line *claims, struct line *out);

// ---- patients_clash.c ----

void gw_clash_load(struct gw_patients *patients, struct patient *patient, const struct clash *clash); // out of memory: patients->failed
void gw_clashes_link(struct gw_patients *patients); // when all are loaded, with their merges and associations
void gw_clashes_forget(struct gw_patients *patients, struct patient *gone); // when its number leads nowhere any more
// Whether a contradiction with somebody who is not expired keeps the patient: it must not end by being forgotten.
bool gw_clash_keeps(struct gw_patients *patients, const struct patient *patient, bool (*expired)(struct gw_patients *, const struct patient *));

// ---- patients_row.c ----

#define PATIENT_ROW_PREFIX "patient/"
#define PATIENT_DEVICE_PREFIX "patient-device/"
#define PATIENT_NEXT_ROW "patient-next"
enum gw_error gw_patient_put(const struct patient *patient, struct gw_ticket *ticket);
enum gw_error gw_patient_del(uint64_t number, struct gw_ticket *ticket);
// A device's facts have a row each: one that goes round a ward has thousands of them.
enum gw_error gw_tracked_put(struct device *device, struct gw_ticket *ticket); // those that are not stored
enum gw_error gw_tracked_del_fact(const struct device *device, const struct fact *fact, struct gw_ticket *ticket);
enum gw_error gw_tracked_del(const struct device *device, struct gw_ticket *ticket); // all
enum gw_error gw_patients_load(struct gw_patients *patients, struct gw_why *why);

// ---- patients_sweep.c ----

enum gw_error gw_patients_sweep(struct gw_patients *patients, struct gw_ticket *ticket);

// ---- patients_apply.c ----

enum gw_error gw_patients_do(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_ticket *ticket, struct gw_why *why);

// ---- patients_owner.c ----

// Of a device that stands by the registry alone, or by its facts. Under `lines`.
struct owned {
	enum gw_whose whose;
	struct patient *patient;
	int64_t from_us, to_us;
	bool direct, flagged;
	struct gw_span bed;
	const struct interval *by;
	struct patient *contested; // CONFLICT because it is in question who that is; NULL: for another reason
};
struct standing { // where the registry says that a device stands
	char bed[GW_NAME_MAX + 1];
	int64_t since_us;
};
void gw_standing_get(const struct gw_patients *patients, struct gw_span id, struct standing *standing);
void gw_owner_look(const struct gw_patients *patients, const struct device *device, const struct standing *standing, int64_t us, struct owned *owned);

#endif
