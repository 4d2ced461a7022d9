// SPDX-License-Identifier: Apache-2.0
// Patients and associations: who was where when, and so whose a reading is (design, promise 5).
//
// A patient has an identity of the hub's own, to which external identifiers point (CX-1 with the assigning authority CX-4; HL7 v2 chapter 2A). A merge
// moves identifiers, not intervals. Associations are intervals [from, to): device to bed, bed to patient, device to patient; each says where it came from.
// A direct association of device and patient beats the way over the bed. Two that hold at once and lead to different patients are a conflict: shown,
// and nothing is said to belong to anybody until somebody has resolved it.
//
// What is told is kept as facts ("transferred to bed 3 at 10:05") and intervals follow from all facts together, in the order of the times at which they took
// effect: the order in which messages come makes no difference, and a message that comes again changes nothing.
// - A patient is in one bed at a time: the next admission, transfer or discharge by time ends a stay. A discharge of another visit (PV1-19) ends nothing.
//   A transfer without a bed (to a ward whose beds have no names) ends it, too, and is cancelled like any other.
// - A cancel takes away the latest admission, transfer or discharge (as it says) not later than its own time that had been told by then (told_us); what was
//   ended by it goes on. EVN-6 of a cancel is the time of what is cancelled (HL7 v2 chapter 3, EVN); where a feed does not say it, the message's time does.
//   A cancel whose message comes first waits for it.
// - An update (A08) counts as "seen in this bed" where nothing earlier is known of the patient, and gives way to whatever earlier is told later.
// - Two patients in a bed are a conflict until one of them leaves. Two patients who are directly associated with one device are a conflict, too: the later
//   association is taken (refusing it would go on giving the readings to the earlier patient), and neither gets the readings while both hold.
// - A direct association ends with its own end or with the patient's discharge; from the patient's first change of bed on it is flagged.
//   An end that names an order ends what that order began; one without patient ends all of the device.
// - An association with an identifier of its own (filler) is known by it: what was told of it last (told_us; of the same moment, what came last) says with which
//   device, with whom and since when, and replaces what earlier reports said of that. Its end, that it goes on after all, and that it never was, hold for
//   whichever device and patient it turns out to be with. Several devices of one message are one report; each ends when its end is told.
// - An order (ASSOCIATE with `order`, without a device) is carried out wherever the patient lies until it is ended or the patient is discharged: the answer
//   names it. It puts the patient into `bed` only as long as no admission or transfer says where the patient is, and then its end takes the patient out again.
//   Where the patient is known to lie in another bed, the order's is one of two (below), until the order ends or names another, or the patient moves or leaves.
// - Merges: what was told of either counts for the one that stays; the other's number and identifiers lead to it. What was told of either before the merge was
//   (told_us, strictly) moves and discharges that one alone: both may lie somewhere, in two beds.
// - A transfer's prior_bed other than the bed in which the patient is known to lie is one of two beds, from when the known one was last told until the transfer.
//   What was told last of the transfer of that moment counts; without prior_bed nothing is said. It contradicts nothing where nothing is known, and where the
//   patient lies in `bed` already and had come there from it: some leave PV1-6 as it was.
// - One patient in two beds is a conflict in both, for as long as both hold, also when that is over: until a message takes one of them away (the transfer told
//   with another prior_bed, cancelled, or the one that was missing; a back-dated move or discharge; the order's bed corrected), or a person does, from that
//   moment on: DISSOCIATE with the bed in which the patient was not, ASSOCIATE with the one in which. Neither time nor another message does.
//   Who is directly associated with a device is not in question by that.
// - Identifiers of one message that lead to different patients: the first known one decides of whom the rest is told; but nobody knows who is who, so from
//   the time of that message on (the earliest, where several say so) both are in conflict: until they are merged, the identifier does not lead to the other
//   any more (CHANGE_ID), or somebody says that they are two (DISTINCT), which then counts whatever further messages say. What was before that time is not in
//   question: no message said it of them. So only identifiers of persons may be given: a number that is used again (account, visit) is in use by two sooner or later.
// - A device stands where it was placed last; before its first placement, where the registry says, since the device was added.
// - Beds are compared byte for byte after gw_bed_name(). Nothing is guessed from parts: bed 3 exists in every ward.
//
// Stored as rows (schemas/journal-format.md) in the ticket of whatever caused the change, with a GW_RECORD_ASSOCIATION for each bed and device concerned, so
// that a change is durable with the message that asked for it, and outlets find in the journal from when to when an answer may have changed.
// In memory whole; a change is seen by readers when it was applied: tickets commit in order, so what is built on it commits after it.
// Bounded: facts that have no effect any more and patients who lie nowhere are forgotten keep_us after (gw_patients_options), a few with every event; so are
// patients in beds without devices of whom nothing was heard for as long (clinics whose feed knows no discharge).
#ifndef GW_PATIENTS_H
#define GW_PATIENTS_H

#include "gateway/error.h"
#include "gateway/intake.h"
#include "gateway/record.h"
#include "gateway/registry.h"

#include <stdbool.h>
#include <stdint.h>

#define GW_TIME_OPEN INT64_MAX // an interval's end that is not known yet
#define GW_BED_MAX 120         // bytes of a bed's name: "ICU^^3" as PV1-3's first four components; see gw_bed_name()
#define GW_IDENTIFIERS_MAX 16  // of one patient

struct gw_patients;

// An external identifier, as CX: borrowed spans, UTF-8. authority may be empty.
struct gw_identifier {
	struct gw_span id, authority, type; // CX-1, CX-4.1, CX-5 ("PI", "MR", "AN"...)
};

// What a message or a person says of a patient. Empty: not told; the two characters "" : to be deleted (HL7 v2 section 2.5.3).
struct gw_person {
	struct gw_identifier identifiers[GW_IDENTIFIERS_MAX];
	size_t identifier_count;
	struct gw_span family, given, middle, suffix, prefix; // XPN-1 (first subcomponent), 2, 3, 4, 5
	struct gw_span birth, sex;                            // PID-7 as received, PID-8
	struct gw_span account;                               // PID-18.1
};

enum gw_association_kind { GW_DEVICE_BED = 1, GW_BED_PATIENT = 2, GW_DEVICE_PATIENT = 3 }; // on disk

// What happened. Times are when it took effect; it may be long ago.
enum gw_patient_verb {
	GW_PATIENT_ADMIT = 1,       // into `bed` from `time`: A01, A04, A05 is not one
	GW_PATIENT_TRANSFER,        // to `bed` from `time`, or, without one, to where beds have no names; the old one ends there: A02, A06 and A07 with a new location
	GW_PATIENT_DISCHARGE,       // bed and direct associations end at `time`: A03
	GW_PATIENT_UPDATE,          // A08, A31: person; where the patient was not known and `bed` is told, the bed from `time`
	GW_PATIENT_CANCEL_ADMIT,    // A11: as if it had never been in `bed`
	GW_PATIENT_CANCEL_TRANSFER, // A12: back in `prior_bed` as if it had never left
	GW_PATIENT_CANCEL_DISCHARGE, // A13: what the discharge ended goes on
	GW_PATIENT_SWAP,            // A17: `person` and `other` change beds at `time`
	GW_PATIENT_MERGE,           // A40 (and A18, A30, A34...): `other`'s identifiers now mean `person`
	GW_PATIENT_CHANGE_ID,       // A47: `other`'s identifier is replaced by `person`'s
	GW_PATIENT_ASSOCIATE,       // DEV-51, an order, a person's command: `device` (or `bed`) to `person` from `time` on (until `until`)
	GW_PATIENT_DISSOCIATE,      // ends it at `time`
	GW_PATIENT_PLACE,           // `device` stands at `bed` from `time` on
	GW_PATIENT_UNPLACE,
	GW_PATIENT_DISTINCT,        // `person` and `other` are two, whatever identifiers of one message said: ends that contradiction; a person's command
	GW_PATIENT_REVOKE,          // DEV-51: the association `filler` of `device` never was
	GW_PATIENT_RESUME,          // DEV-51: that it ended at `time` is wrong
};

struct gw_patient_event {
	enum gw_patient_verb verb;
	int64_t time_us, until_us;   // until: GW_TIME_OPEN or 0 where not told
	int64_t told_us;             // when it was said (MSH-7); 0: now. Orders what was said of the same moment, and what a cancel may mean
	struct gw_person person, other;
	struct gw_span bed, prior_bed, other_bed; // TRANSFER: prior_bed is the one that was left, as told. SWAP: bed is person's from now on, other_bed is other's; empty: where the other lay.
	                             // CANCEL_ADMIT, CANCEL_TRANSFER: the bed that was entered by what is cancelled; empty: whichever
	struct gw_span device;       // id in the registry; ASSOCIATE and DISSOCIATE may name `bed` or `order` instead
	struct gw_span visit;        // PV1-19.1
	struct gw_span patient_class; // PV1-2
	struct gw_span order, order_authority; // ORC-2 / OBR-2: EI-1, EI-2; kept for OBR-2 of what answers it
	struct gw_span source;       // who says so, for people: "hl7 ADT1^KLINIK A01 4711", "uid 1000 (alice)"
	struct gw_span filler;       // association's own identifier, unique with its assigner: OBR-3 of a DEV-51
};

// Reads all rows. The registry gives devices' beds where no association says otherwise.
enum gw_error gw_patients_open(struct gw_journal *journal, struct gw_intake *intake, struct gw_registry *registry, struct gw_patients **patients,
    struct gw_why *why);
void gw_patients_close(struct gw_patients *patients);

struct gw_patients_options {
	int64_t keep_us;       // facts without effect and patients without association are kept this long; 0: 35 days
	uint32_t patients_max; // at once; a new one beyond is refused with GW_E_QUOTA; 0: 100000
};
void gw_patients_configure(struct gw_patients *patients, const struct gw_patients_options *options);

// A bed's name as it is compared: without white space around, without trailing '^'. Returns its length; GW_BED_MAX + 1 where it is too long. Terminated.
size_t gw_bed_name(struct gw_span text, char out[GW_BED_MAX + 1]);

// Applies an event: changes what is in memory and lays the rows and the record into the ticket, which is made essential and must then be submitted: any
// thread, under gw_patients_lock() from before the call until the ticket was submitted, so that tickets are in the order of changes.
// GW_E_ARGUMENT, GW_E_TOO_LARGE, GW_E_NOT_FOUND (a device that is not in the registry), GW_E_EXISTS (CHANGE_ID to another patient's), GW_E_QUOTA: nothing is
// changed, why has words. GW_OK: why says in words what it did, for the answer and for diagnostics (no names, no identifiers of patients); what was told
// before is GW_OK, too. A ticket may take several events. One that has taken an event and is not submitted after all needs gw_patients_reload().
// GW_E_MEMORY: nothing more can be told until gw_patients_reload(); tickets that took events before are submitted first.
enum gw_error gw_patients_apply(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_ticket *ticket, struct gw_why *why);
void gw_patients_lock(struct gw_patients *patients);
void gw_patients_unlock(struct gw_patients *patients);
// The ticket came back without being stored: waits for what is under way, then all is read again from the store. Not under gw_patients_lock().
enum gw_error gw_patients_reload(struct gw_patients *patients);
// For a command: apply, commit, wait. Recorded as event->source's command (GW_RECORD_COMMAND).
enum gw_error gw_patients_change(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_why *why);
// Many in one commit, all or nothing; *failed is the number of the event that was refused.
enum gw_error gw_patients_change_many(struct gw_patients *patients, const struct gw_patient_event *events, size_t count, const char *command, size_t *failed,
    struct gw_why *why);

// ---- Whose is it? Any thread ----

enum gw_whose {
	GW_WHOSE_NOBODY,   // nobody was associated
	GW_WHOSE_PATIENT,
	GW_WHOSE_CONFLICT, // associations contradict each other
	GW_WHOSE_UNSURE,   // the clock's uncertainty spans a change
};

// The answer for a device at a moment, and the time around it in which it stays the same. Copied out: nothing is borrowed.
struct gw_owner {
	enum gw_whose whose;
	uint64_t patient;            // the hub's own number; 0 where none
	int64_t from_us, to_us;      // the answer holds for effective times in [from, to)
	bool direct, flagged;        // by device-patient association; flagged: a transfer happened since, somebody should look
	char bed[GW_BED_MAX + 1];    // where the device stood; empty: not known
	char visit[65], patient_class[9];
	char order[65], order_authority[65];
	int64_t since_us;            // when the association that decides began (PV1-44 where it is a stay); 0 where none
	uint64_t generation;         // gw_patients_generation() when this was said
};

// effective_us: see gateway/device_clock.h; uncertainty_us: the true moment lies within effective_us -+ this; the window is for that uncertainty, too.
// What lies longer ago than keep_us is nobody's: associations of that time may be forgotten. A microsecond; nothing is allocated.
void gw_patients_owner(struct gw_patients *patients, struct gw_span device, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner);
// Rises with every change, also of the registry; two atomic loads.
uint64_t gw_patients_generation(const struct gw_patients *patients);

// The devices that stood at a bed at some time in [from, to), by placement or by the registry: for a change that names the bed. Sorted, each once;
// the caller frees *ids (NULL where there are none).
enum gw_error gw_patients_devices(struct gw_patients *patients, struct gw_span bed, int64_t from_us, int64_t to_us, char (**ids)[GW_ID_MAX + 1], size_t *count);

// A patient for a message or a person: copied out; texts terminated, empty where not known.
struct gw_patient {
	uint64_t number;
	struct { char id[65], authority[65], type[17]; } identifiers[GW_IDENTIFIERS_MAX];
	size_t identifier_count;
	char family[65], given[65], middle[65], suffix[33], prefix[33], birth[27], sex[9], account[65];
	bool merged; // its identifiers mean another patient now: `into`
	uint64_t into;
};
bool gw_patients_get(struct gw_patients *patients, uint64_t number, struct gw_patient *patient);
// Whom a number means now, after merges; 0: forgotten. What went out for a number that now means the same patient did not go out for a wrong one.
uint64_t gw_patients_resolve(struct gw_patients *patients, uint64_t number);
// The patient whom an identifier means; without an authority also the only one with that id. GW_E_NOT_FOUND, GW_E_ARGUMENT where several have it.
enum gw_error gw_patients_find(struct gw_patients *patients, const struct gw_identifier *identifier, uint64_t *number, struct gw_why *why);

// ---- Erasing a person: gateway/patients_erase.c ----

// The number, those that were merged into it, and the one into whom it was merged with all of its own; the caller frees *numbers. GW_E_NOT_FOUND.
enum gw_error gw_patients_numbers(struct gw_patients *patients, uint64_t number, uint64_t **numbers, size_t *count);
// Forgets all that is known of these but when which bed and device were somebody's; stays that go on end now. What was theirs is nobody's then; outlets are not
// told. Into the ticket, which is submitted under the same gw_patients_lock(), as in gw_patients_apply(); where it fails, or the ticket does:
// gw_patients_reload(). GW_E_NOT_FOUND.
#define GW_ERASED_BEDS_MAX 4 // at once; one who was said to be in more is to be looked at first
enum gw_error gw_patients_forget_person(struct gw_patients *patients, uint64_t number, struct gw_ticket *ticket);
// The same where it is known that nothing was his any more from until_us on, whatever is known here: what is told to go on ends then.
enum gw_error gw_patients_forget_until(struct gw_patients *patients, uint64_t number, int64_t until_us, struct gw_ticket *ticket);
// Of a store that goes on from a backup, into the ticket: numbers of patients that the store from which it was made may have given since are not given again.
enum gw_error gw_patients_begin_anew(struct gw_journal *journal, struct gw_ticket *ticket);

// ---- For people: copied out; the caller frees *entries ----

enum gw_timeline_kind { GW_TIMELINE_STAY = 1, GW_TIMELINE_PLACE, GW_TIMELINE_DIRECT, GW_TIMELINE_OWNER, GW_TIMELINE_CLASH, GW_TIMELINE_BEDS };
// An association in [from, to). OWNER: what gw_patients_owner() says of a device then. CLASH: identifiers of one message led to `patient` and `other`.
// BEDS: `patient` is said to be in `bed` and in `other_bed`, by `source`. A STAY with other_bed is one of these.
struct gw_timeline {
	enum gw_timeline_kind kind;
	int64_t from_us, to_us;
	uint64_t patient, other;     // a conflict's second patient
	enum gw_whose whose;         // OWNER
	bool flagged, conflict;
	char device[GW_ID_MAX + 1], bed[GW_BED_MAX + 1], other_bed[GW_BED_MAX + 1];
	char visit[65], order[65], filler[65], source[97];
};
#define GW_TIMELINE_MAX 10000
// Of a patient (with its devices), a bed (with the devices that were placed there) or a device: what holds within [from, to), in order of time.
struct gw_timeline_query {
	uint64_t patient;
	struct gw_span bed, device;  // exactly one of the three
	int64_t from_us, to_us;
};
enum gw_error gw_patients_timeline(struct gw_patients *patients, const struct gw_timeline_query *query, struct gw_timeline **entries, size_t *count);
// What contradicts each other and is not over since before since_us. What is over is held as long as nobody resolves it, too.
#define GW_CONFLICTS_US (7 * INT64_C(86400000000)) // as far back as readings may still wait
enum gw_error gw_patients_conflicts(struct gw_patients *patients, int64_t since_us, struct gw_timeline **entries, size_t *count);

struct gw_patients_stats {
	uint64_t patients, in_beds, beds, devices; // patients kept, beds in which somebody lies now, beds and devices of which something is known
	uint64_t conflicts;                        // that hold now; of two beds of one patient those of the last GW_CONFLICTS_US, too
	uint64_t events, contradictions;           // since start
};
void gw_patients_stats(struct gw_patients *patients, struct gw_patients_stats *stats);

// ---- GW_RECORD_ASSOCIATION, version 1: what changed, for outlets ----
// The answer of gw_patients_owner() for `device` (empty: for every device that stood at bed `bed` within that time; both empty: for every device) may have
// changed for effective times in [from, to). Whether it has, and how, is seen by asking: the answer of now, against what was sent.
struct gw_association_change {
	int64_t received_us;
	struct gw_span device, bed;
	int64_t from_us, to_us;
	struct gw_span text; // for people, without patients' names or identifiers
};
enum gw_error gw_association_encode(const struct gw_association_change *change, uint8_t *out, size_t cap, size_t *len);
enum gw_error gw_association_open(const struct gw_record *record, struct gw_association_change *change, struct gw_why *why);

#endif
