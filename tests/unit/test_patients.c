// SPDX-License-Identifier: Apache-2.0
// Whose is a reading: what hospitals tell, in order and out of it, and what follows for devices. Against a real store.
#include "tests/unit/patients_help.h"

#include "gateway/bytes.h"
#include "gateway/record_layout.h"

#include <pthread.h>

static void
admitted_moved_discharged(void **state)
{
	told(EVENT(ADMIT, 0, WHO("1^^^K"), BED("ICU^^3"), .visit = gw_span_text("V1"), .patient_class = gw_span_text("I")));
	assert_whose("wall3", -1, "-");
	assert_whose("wall3", 0, "1");
	assert_string_equal(owner_of("wall3", at(5), 0).visit, "V1");
	assert_string_equal(owner_of("wall3", at(5), 0).patient_class, "I");
	assert_string_equal(owner_of("wall3", at(5), 0).bed, "ICU^^3");
	assert_true(owner_of("wall3", at(5), 0).since_us == at(0));
	told(EVENT(TRANSFER, 60, WHO("1^^^K"), BED("ICU^^4")));
	assert_whose("wall3", 59, "1");
	assert_whose("wall3", 60, "-");
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("ICU^^4")));
	assert_whose("m1", 60, "1");
	told(EVENT(DISCHARGE, 90, WHO("1^^^K")));
	assert_whose("m1", 89, "1");
	assert_whose("m1", 90, "-");
	(void)state;
}

// A transfer at 10:05 that is reported at 10:40 moves what was measured from 10:05 on.
static void
late_transfer(void **state)
{
	uint64_t before;
	struct gw_owner owner;

	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B4")));
	told(EVENT(PLACE, 0, DEVICE("m2"), BED("B3")));
	told(EVENT(ADMIT, 1, WHO("1"), BED("B3")));
	assert_whose("m2", 30, "1");
	before = gw_patients_generation(hub.patients);
	told(EVENT(TRANSFER, 5, WHO("1"), BED("B4"), .prior_bed = gw_span_text("B3"), TOLD(40)));
	assert_true(gw_patients_generation(hub.patients) > before);
	assert_whose("m2", 4, "1");
	assert_whose("m2", 5, "-");
	assert_whose("m1", 5, "1");
	// An older movement that is told later inserts itself before what is known.
	told(EVENT(TRANSFER, 3, WHO("1"), BED("B9"), TOLD(50)));
	assert_whose("m2", 4, "!"); // the other one says that the patient came from there
	told(EVENT(TRANSFER, 5, WHO("1"), BED("B4"), .prior_bed = gw_span_text("B9"), TOLD(60)));
	assert_whose("m2", 4, "-");
	assert_whose("m1", 5, "1");
	owner = owner_of("m2", at(2), 0);
	assert_true(owner.from_us == at(1) && owner.to_us == at(3));
	(void)state;
}

// To where beds have no names: the old bed is empty, and what the patient wears should be looked at.
static void
transfer_to_where_beds_have_no_names(void **state)
{
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	told(EVENT(ASSOCIATE, 1, WHO("1"), DEVICE("m1")));
	told(EVENT(ADMIT, 2, WHO("2"), BED("B2")));
	told(EVENT(TRANSFER, 10, WHO("1"), TOLD(40), .prior_bed = gw_span_text("ICU^^3")));
	assert_whose("wall3", 9, "1");
	assert_whose("wall3", 10, "-");
	assert_whose("m1", 20, "1");
	assert_false(owner_of("m1", at(9), 0).flagged);
	assert_true(owner_of("m1", at(10), 0).flagged);
	assert_string_equal(owner_of("m1", at(10), 0).bed, "");
	told(EVENT(TRANSFER, 10, WHO("1"), TOLD(41))); // again
	hub_restart();
	assert_true(owner_of("m1", at(10), 0).flagged);
	assert_whose("wall3", 10, "-");
	// Cancelled: it had not left.
	told(EVENT(CANCEL_TRANSFER, 10, WHO("1"), TOLD(45), .prior_bed = gw_span_text("ICU^^3")));
	assert_whose("wall3", 20, "1");
	assert_false(owner_of("m1", at(20), 0).flagged);
	// A cancel that names the bed that was entered means another transfer.
	told(EVENT(TRANSFER, 50, WHO("1"), TOLD(50), BED("B5")));
	told(EVENT(TRANSFER, 60, WHO("1"), TOLD(60)));
	told(EVENT(CANCEL_TRANSFER, 61, WHO("1"), TOLD(61), BED("B5")));
	assert_whose("wall3", 55, "1");
	assert_whose("wall3", 60, "-");
	told(EVENT(CANCEL_TRANSFER, 62, WHO("1"), TOLD(62)));
	assert_whose("wall3", 70, "1");
	// Cancelled before it is told.
	told(EVENT(CANCEL_TRANSFER, 70, WHO("1"), TOLD(72)));
	told(EVENT(TRANSFER, 70, WHO("1"), TOLD(71)));
	assert_whose("wall3", 75, "1");
	// Back into a bed, out of it, and gone; another visit's discharge ends nothing where no bed is known, either.
	told(EVENT(TRANSFER, 80, WHO("1"), TOLD(80), .visit = gw_span_text("V1")));
	told(EVENT(DISCHARGE, 82, WHO("1"), TOLD(82), .visit = gw_span_text("V0")));
	assert_whose("m1", 83, "1");
	told(EVENT(TRANSFER, 85, WHO("1"), TOLD(85), BED("ICU^^3"), .visit = gw_span_text("V1")));
	assert_whose("wall3", 84, "-");
	assert_whose("wall3", 85, "1");
	told(EVENT(TRANSFER, 90, WHO("1"), TOLD(90), .visit = gw_span_text("V1")));
	told(EVENT(DISCHARGE, 95, WHO("1"), TOLD(95), .visit = gw_span_text("V1")));
	assert_whose("m1", 94, "1");
	assert_whose("m1", 95, "-");
	(void)state;
}

// Whoever wears a device and is told to be moved is flagged, be it not known where from.
static void
transfer_out_of_no_known_bed(void **state)
{
	told(EVENT(ASSOCIATE, 1, WHO("1"), DEVICE("m1")));
	told(EVENT(TRANSFER, 10, WHO("1"), BED("ICU^^3")));
	assert_false(owner_of("m1", at(9), 0).flagged);
	assert_true(owner_of("m1", at(10), 0).flagged);
	assert_whose("wall3", 10, "1");
	told(EVENT(ASSOCIATE, 1, WHO("2"), DEVICE("m2")));
	told(EVENT(ADMIT, 10, WHO("2"), BED("B2"))); // who is admitted comes from nowhere
	assert_false(owner_of("m2", at(10), 0).flagged);
	// Before the transfer that comes first nothing is known: a bed by an order gives way.
	told(EVENT(TRANSFER, 20, WHO("3")));
	told(EVENT(ASSOCIATE, 25, WHO("3"), BED("B3"), ORDER("O1")));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B3")));
	assert_string_equal(owner_of("m1", at(26), 0).bed, "B3");
	told(EVENT(DISSOCIATE, 22, WHO("1"), DEVICE("m1")));
	assert_whose("m1", 26, "-");
	(void)state;
}

static void
discharge_before_its_admission(void **state)
{
	told(EVENT(DISCHARGE, 50, WHO("1"), TOLD(50)));
	told(EVENT(ADMIT, 10, WHO("1"), BED("ICU^^3"), TOLD(55)));
	assert_whose("wall3", 49, "1");
	assert_whose("wall3", 50, "-");
	(void)state;
}

static void
cancels_restore(void **state)
{
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B4")));
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), TOLD(0)));
	told(EVENT(ASSOCIATE, 2, WHO("1"), DEVICE("m2"), TOLD(2)));
	told(EVENT(TRANSFER, 10, WHO("1"), BED("B4"), TOLD(10)));
	told(EVENT(DISCHARGE, 20, WHO("1"), TOLD(20)));
	assert_whose("m1", 25, "-");
	assert_whose("m2", 25, "-");
	// A13: bed and direct association go on.
	told(EVENT(CANCEL_DISCHARGE, 20, WHO("1"), TOLD(30)));
	assert_whose("m1", 25, "1");
	assert_whose("m2", 25, "1");
	assert_true(owner_of("m2", at(25), 0).flagged);
	// A12, at the time of its message: back in the first bed as if it had never left; the device is not flagged any more.
	told(EVENT(CANCEL_TRANSFER, 35, WHO("1"), .prior_bed = gw_span_text("ICU^^3"), TOLD(35)));
	assert_whose("m1", 25, "-");
	assert_whose("wall3", 25, "1");
	assert_false(owner_of("m2", at(25), 0).flagged);
	// The transfer again, really: the cancel concerns what was told before it.
	told(EVENT(TRANSFER, 30, WHO("1"), BED("B4"), TOLD(40)));
	assert_whose("wall3", 29, "1");
	assert_whose("m1", 30, "1");
	// A11: it never was there.
	told(EVENT(CANCEL_ADMIT, 0, WHO("1"), BED("ICU^^3"), TOLD(50)));
	assert_whose("wall3", 5, "-");
	assert_whose("m1", 30, "1");
	// The cancelled message once more: told before the cancel, it stays cancelled.
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), TOLD(0)));
	assert_whose("wall3", 5, "-");
	(void)state;
}

static void
cancel_before_what_it_cancels(void **state)
{
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), TOLD(0)));
	told(EVENT(CANCEL_DISCHARGE, 30, WHO("1"), TOLD(30)));
	assert_whose("wall3", 40, "1");
	told(EVENT(DISCHARGE, 20, WHO("1"), TOLD(20)));
	assert_whose("wall3", 40, "1");
	told(EVENT(DISCHARGE, 35, WHO("1"), TOLD(36)));
	assert_whose("wall3", 40, "-");
	(void)state;
}

static void
swap(void **state)
{
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B4")));
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	told(EVENT(ADMIT, 0, WHO("2"), BED("B4")));
	told(EVENT(SWAP, 10, WHO("1"), .other = person_of("2")));
	assert_whose("m1", 9, "2");
	assert_whose("wall3", 9, "1");
	assert_whose("m1", 10, "1");
	assert_whose("wall3", 10, "2");
	told(EVENT(SWAP, 10, WHO("1"), .other = person_of("2"))); // sent again
	assert_whose("m1", 10, "1");
	assert_whose("wall3", 10, "2");
	told(EVENT(SWAP, 20, WHO("1"), .other = person_of("2"), BED("ICU^^3"), .other_bed = gw_span_text("B4")));
	assert_whose("wall3", 20, "1");
	assert_int_equal(tell(EVENT(SWAP, 20, WHO("7"), .other = person_of("8"))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(SWAP, 20, WHO("1"), .other = person_of("1"))), GW_E_ARGUMENT);
	(void)state;
}

static void
merge(void **state)
{
	struct gw_owner before, after;
	struct gw_patient patient;

	told(EVENT(ADMIT, 0, WHO("tmp^^^ER"), BED("ICU^^3")));
	told(EVENT(ASSOCIATE, 0, WHO("tmp^^^ER"), DEVICE("m2")));
	told(EVENT(UPDATE, 1, WHO("1^^^K"), BED("B7")));
	before = owner_of("wall3", at(5), 0);
	told(EVENT(MERGE, 10, WHO("1^^^K"), .other = person_of("tmp^^^ER"), TOLD(10)));
	after = owner_of("m2", at(5), 0);
	assert_whose("m2", 5, "1");
	assert_true(before.patient != after.patient);
	assert_true(gw_patients_resolve(hub.patients, before.patient) == after.patient);
	assert_true(gw_patients_get(hub.patients, before.patient, &patient));
	assert_true(patient.merged && patient.into == after.patient);
	assert_string_equal(patient.identifiers[0].id, "tmp");
	// Both identifiers mean the same patient now; what was told of the one ends what was told of the other.
	told(EVENT(TRANSFER, 20, WHO("tmp^^^ER"), BED("B8")));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B8")));
	assert_whose("m1", 20, "1");
	// And round: no circle.
	told(EVENT(MERGE, 30, WHO("tmp^^^ER"), .other = person_of("1^^^K")));
	assert_whose("m1", 20, "1");
	hub_restart();
	assert_whose("m1", 20, "1");
	assert_whose("m2", 5, "1");
	(void)state;
}

static void
merge_of_several(void **state)
{
	told(EVENT(ADMIT, 0, WHO("a"), BED("ICU^^3")));
	told(EVENT(ADMIT, 1, WHO("b"), BED("B2")));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B2")));
	told(EVENT(MERGE, 5, WHO("c"), .other = person_of("a~b")));
	assert_whose("wall3", 0, "c");
	assert_whose("m1", 1, "!"); // in two beds
	assert_whose("wall3", 1, "!");
	told(EVENT(DISCHARGE, 9, WHO("b"), .told_us = NOW + 1)); // of one person
	assert_whose("m1", 9, "-");
	assert_whose("wall3", 9, "-");
	// Both are new: a late admission under the old identifier is the right patient's.
	told(EVENT(MERGE, 5, WHO("d"), .other = person_of("e")));
	told(EVENT(ADMIT, 20, WHO("e"), BED("ICU^^3"), TOLD(1)));
	assert_whose("wall3", 20, "d");
	(void)state;
}

static void
changed_identifier(void **state)
{
	told(EVENT(ADMIT, 0, WHO("old^^^K"), BED("ICU^^3")));
	told(EVENT(ADMIT, 0, WHO("9^^^K"), BED("B9")));
	told(EVENT(CHANGE_ID, 5, WHO("new^^^K"), .other = person_of("old^^^K")));
	assert_whose("wall3", 5, "new");
	told(EVENT(CHANGE_ID, 5, WHO("new^^^K"), .other = person_of("old^^^K"))); // again
	assert_whose("wall3", 5, "new");
	assert_int_equal(tell(EVENT(CHANGE_ID, 6, WHO("9^^^K"), .other = person_of("new^^^K"))), GW_E_EXISTS);
	// The old one is free, for somebody else.
	told(EVENT(ADMIT, 10, WHO("old^^^K"), BED("B5")));
	assert_whose("wall3", 11, "new");
	(void)state;
}

static void
two_in_a_bed(void **state)
{
	struct gw_timeline *entries;
	struct gw_patients_stats stats;
	size_t count;

	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	told(EVENT(ADMIT, 10, WHO("2"), BED("ICU^^3")));
	assert_non_null(strstr(hub.why.text, "CONTRADICTION"));
	assert_whose("wall3", 9, "1");
	assert_whose("wall3", 10, "!");
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.conflicts, 1);
	assert_int_equal(gw_patients_conflicts(hub.patients, INT64_MIN, &entries, &count), GW_OK);
	assert_int_equal(count, 1);
	assert_true(entries[0].from_us == at(10) && entries[0].to_us == GW_TIME_OPEN && entries[0].conflict);
	assert_string_equal(entries[0].bed, "ICU^^3");
	free(entries);
	// The true message arrives.
	told(EVENT(DISCHARGE, 8, WHO("1"), TOLD(40)));
	assert_whose("wall3", 9, "-");
	assert_whose("wall3", 10, "2");
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.conflicts, 0);
	(void)state;
}

static void
direct_beats_bed(void **state)
{
	struct gw_owner owner;

	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), .visit = gw_span_text("V1")));
	told(EVENT(ADMIT, 0, WHO("2"), BED("B2"), .visit = gw_span_text("V2")));
	told(EVENT(ASSOCIATE, 10, WHO("2"), DEVICE("wall3"), .filler = gw_span_text("f1")));
	assert_whose("wall3", 9, "1");
	assert_whose("wall3", 10, "2");
	owner = owner_of("wall3", at(10), 0);
	assert_true(owner.direct && !owner.flagged);
	assert_string_equal(owner.visit, "V2");
	// A transfer flags it, and only from then on.
	told(EVENT(TRANSFER, 20, WHO("2"), BED("B5")));
	assert_false(owner_of("wall3", at(19), 0).flagged);
	assert_true(owner_of("wall3", at(20), 0).flagged);
	told(EVENT(DISSOCIATE, 30, WHO("2"), DEVICE("wall3")));
	assert_whose("wall3", 29, "2");
	assert_whose("wall3", 30, "1");
	// Another patient's association ends nothing of this one.
	told(EVENT(DISSOCIATE, 15, WHO("1"), DEVICE("wall3")));
	assert_whose("wall3", 29, "2");
	(void)state;
}

static void
two_direct_associations(void **state)
{
	told(EVENT(ASSOCIATE, 0, WHO("1"), DEVICE("m1")));
	told(EVENT(ASSOCIATE, 10, WHO("2"), DEVICE("m1")));
	assert_non_null(strstr(hub.why.text, "CONTRADICTION"));
	assert_whose("m1", 9, "1");
	assert_whose("m1", 10, "!");
	told(EVENT(DISSOCIATE, 10, WHO("1"), DEVICE("m1")));
	assert_whose("m1", 9, "1");
	assert_whose("m1", 10, "2");
	// An end for everybody, told before a begin of the same moment or after it.
	told(EVENT(DISSOCIATE, 20, DEVICE("m1"), TOLD(20)));
	told(EVENT(ASSOCIATE, 20, WHO("3"), DEVICE("m1"), TOLD(20), .until_us = at(30)));
	assert_whose("m1", 19, "2");
	assert_whose("m1", 20, "3");
	assert_whose("m1", 30, "-");
	// A dissociation that comes before its association.
	told(EVENT(DISSOCIATE, 50, WHO("4"), DEVICE("m1"), TOLD(50)));
	told(EVENT(ASSOCIATE, 40, WHO("4"), DEVICE("m1"), TOLD(51)));
	assert_whose("m1", 49, "4");
	assert_whose("m1", 50, "-");
	assert_int_equal(tell(EVENT(ASSOCIATE, 40, WHO("4"), DEVICE("nosuch"))), GW_E_NOT_FOUND);
	(void)state;
}

static void
orders(void **state)
{
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), .visit = gw_span_text("V1")));
	// An order for who lies in the bed anyway: its number, and no more.
	told(EVENT(ASSOCIATE, 10, WHO("1"), BED("ICU^^3"), ORDER("O1"), .order_authority = gw_span_text("KIS")));
	assert_string_equal(owner_of("wall3", at(9), 0).order, "");
	assert_string_equal(owner_of("wall3", at(10), 0).order, "O1");
	assert_string_equal(owner_of("wall3", at(10), 0).order_authority, "KIS");
	assert_string_equal(owner_of("wall3", at(10), 0).visit, "V1");
	told(EVENT(TRANSFER, 20, WHO("1"), BED("B4")));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B4")));
	assert_string_equal(owner_of("m1", at(20), 0).order, "O1");
	told(EVENT(DISSOCIATE, 30, WHO("1"), ORDER("O1")));
	assert_whose("m1", 30, "1");
	assert_string_equal(owner_of("m1", at(30), 0).order, "");
	// Without admissions the order says where the patient is; an order of another number ends nothing.
	told(EVENT(ASSOCIATE, 0, WHO("2"), BED("ICU^^3"), ORDER("O2"), TOLD(0), .until_us = 0));
	told(EVENT(DISSOCIATE, 40, WHO("2"), BED("ICU^^3"), ORDER("O9")));
	told(EVENT(DISSOCIATE, 50, WHO("2"), BED("ICU^^3"), ORDER("O2")));
	assert_whose("wall3", 49, "2");
	assert_whose("wall3", 50, "-");
	// A device's order ends by its number alone, too.
	told(EVENT(ASSOCIATE, 60, WHO("1"), DEVICE("m2"), ORDER("O3")));
	told(EVENT(ASSOCIATE, 61, WHO("1"), DEVICE("m2")));
	told(EVENT(DISSOCIATE, 70, WHO("1"), ORDER("O3")));
	assert_string_equal(owner_of("m2", at(60), 0).order, "O3");
	assert_whose("m2", 71, "1");
	told(EVENT(DISSOCIATE, 80, WHO("1"), DEVICE("m2")));
	assert_whose("m2", 80, "-");
	(void)state;
}

static void
seen_by_an_update(void **state)
{
	told(EVENT(UPDATE, 5, WHO("1")));
	assert_whose("wall3", 5, "-");
	told(EVENT(UPDATE, 10, WHO("1"), BED("ICU^^3")));
	assert_whose("wall3", 9, "-");
	assert_whose("wall3", 10, "1");
	told(EVENT(ASSOCIATE, 1, WHO("2"), ORDER("O1"))); // an order says little
	told(EVENT(UPDATE, 2, WHO("2"), BED("B8")));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B8")));
	assert_whose("m1", 2, "2");
	told(EVENT(UPDATE, 20, WHO("1"), BED("B9"))); // an update moves nobody who is known
	assert_whose("wall3", 20, "1");
	// An earlier admission to another bed is told later: the update has nothing to say any more.
	told(EVENT(ADMIT, 2, WHO("1"), BED("B9"), TOLD(30)));
	assert_whose("wall3", 10, "-");
	(void)state;
}

static void
another_visit_ends_nothing(void **state)
{
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), .visit = gw_span_text("V1")));
	told(EVENT(ASSOCIATE, 0, WHO("1"), DEVICE("m1")));
	told(EVENT(DISCHARGE, 10, WHO("1"), .visit = gw_span_text("V0")));
	assert_whose("wall3", 10, "1");
	assert_whose("m1", 10, "1");
	told(EVENT(DISCHARGE, 20, WHO("1"), .visit = gw_span_text("V1")));
	assert_whose("wall3", 20, "-");
	assert_whose("m1", 20, "-");
	(void)state;
}

static int64_t
device_created_us(const char *id)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(hub.registry);
	int64_t us = gw_snapshot_device(snapshot, gw_span_text(id))->created_us;

	gw_snapshot_put(snapshot);
	return us;
}

static void
device_moves_between_beds(void **state)
{
	struct gw_owner owner;

	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	told(EVENT(ADMIT, 0, WHO("2"), BED("B2")));
	assert_whose("wall3", 10, "1"); // by the registry
	owner = owner_of("wall3", device_created_us("wall3") - 1000, 0);
	assert_string_equal(owner.bed, "ICU^^3"); // its first readings need not wait for the moment in which it was added
	owner = owner_of("wall3", device_created_us("wall3") - INT64_C(3600000000), 0);
	assert_string_equal(owner.bed, "");
	told(EVENT(PLACE, 20, DEVICE("wall3"), BED(" B2^ ")));
	assert_whose("wall3", 19, "1");
	assert_whose("wall3", 20, "2");
	told(EVENT(UNPLACE, 30, DEVICE("wall3")));
	assert_whose("wall3", 29, "2");
	assert_whose("wall3", 30, "-");
	owner = owner_of("wall3", at(19), 0);
	assert_true(owner.from_us == at(0) && owner.to_us == at(20));
	hub_restart();
	assert_whose("wall3", 19, "1");
	assert_whose("wall3", 29, "2");
	assert_whose("wall3", 30, "-");
	(void)state;
}

static void
devices_of_a_bed(void **state)
{
	char (*ids)[GW_ID_MAX + 1];
	size_t count;

	told(EVENT(PLACE, 10, DEVICE("m1"), BED("ICU^^3"), .until_us = at(20)));
	told(EVENT(PLACE, 30, DEVICE("wall3"), BED("B9")));
	assert_int_equal(gw_patients_devices(hub.patients, gw_span_text("ICU^^3"), at(0), at(11), &ids, &count), GW_OK);
	assert_int_equal(count, 2);
	assert_string_equal(ids[0], "m1");
	assert_string_equal(ids[1], "wall3");
	free(ids);
	assert_int_equal(gw_patients_devices(hub.patients, gw_span_text("ICU^^3 "), at(20), GW_TIME_OPEN, &ids, &count), GW_OK);
	assert_int_equal(count, 1);
	assert_string_equal(ids[0], "wall3");
	free(ids);
	assert_int_equal(gw_patients_devices(hub.patients, gw_span_text("ICU^^3"), at(30), GW_TIME_OPEN, &ids, &count), GW_OK);
	assert_int_equal(count, 0);
	free(ids);
	(void)state;
}

// Of a time of which associations are forgotten nothing is said: what was direct then must not fall to the bed's patient.
static void
older_than_what_is_kept(void **state)
{
	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	told(EVENT(ASSOCIATE, 10, WHO("2"), DEVICE("wall3"), .until_us = at(20)));
	assert_whose("wall3", 15, "2");
	gw_clock_fake_wall(at(16) + 35 * 24 * 60 * MINUTE);
	assert_whose("wall3", 15, "-");
	assert_whose("wall3", 16, "2");
	assert_int_equal(owner_of("wall3", at(16), MINUTE).whose, GW_WHOSE_UNSURE);
	gw_clock_fake_wall(at(30) + 35 * 24 * 60 * MINUTE);
	told((struct gw_patient_event){ .verb = GW_PATIENT_UNPLACE, .time_us = at(30 * 24 * 60), DEVICE("m1") });
	told((struct gw_patient_event){ .verb = GW_PATIENT_UNPLACE, .time_us = at(30 * 24 * 60 + 1), DEVICE("m1") });
	assert_whose("wall3", 15, "-");
	assert_whose("wall3", 30, "1");
	(void)state;
}

static void
uncertain_clocks(void **state)
{
	struct gw_owner owner;

	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3"), .visit = gw_span_text("V1")));
	told(EVENT(ADMIT, 30, WHO("1"), BED("ICU^^3"), .visit = gw_span_text("V2")));
	told(EVENT(DISCHARGE, 60, WHO("1")));
	told(EVENT(ADMIT, 60, WHO("2"), BED("ICU^^3")));
	owner = owner_of("wall3", at(50), 5 * MINUTE);
	assert_int_equal(owner.whose, GW_WHOSE_PATIENT);
	assert_true(owner.from_us == at(30) && owner.to_us == at(55)); // never beyond what the visit is
	owner = owner_of("wall3", at(58), 5 * MINUTE);
	assert_int_equal(owner.whose, GW_WHOSE_UNSURE);
	assert_true(owner.from_us == at(55) && owner.to_us == at(60) && owner.patient == 0);
	owner = owner_of("wall3", at(61), 5 * MINUTE);
	assert_int_equal(owner.whose, GW_WHOSE_UNSURE);
	assert_int_equal(owner_of("wall3", at(65), 5 * MINUTE).whose, GW_WHOSE_PATIENT);
	assert_int_equal(owner_of("wall3", at(55) - 1, 5 * MINUTE).whose, GW_WHOSE_PATIENT);
	assert_int_equal(owner_of("wall3", at(55), 5 * MINUTE).whose, GW_WHOSE_UNSURE);
	// The same patient on both sides of a change is no doubt.
	assert_int_equal(owner_of("wall3", at(30), 5 * MINUTE).whose, GW_WHOSE_PATIENT);
	assert_int_equal(owner_of("wall3", at(30), INT64_MAX).whose, GW_WHOSE_UNSURE);
	(void)state;
}

static void
persons(void **state)
{
	struct gw_person person = person_of("1^^^K");
	struct gw_patient patient;
	uint64_t number;

	person.family = gw_span_text("Müller");
	person.given = gw_span_text("Ada");
	told(EVENT(ADMIT, 0, .person = person, BED("ICU^^3"), TOLD(0)));
	number = owner_of("wall3", at(1), 0).patient;
	person.given = gw_span_text("\"\"");
	person.sex = gw_span_text("F");
	told(EVENT(UPDATE, 10, .person = person, TOLD(10)));
	person.sex = gw_span_text("M"); // an older message, late: fills what is empty, changes nothing
	person.prefix = gw_span_text("Dr.");
	told(EVENT(UPDATE, 5, .person = person, TOLD(5)));
	hub_restart();
	assert_true(gw_patients_get(hub.patients, number, &patient));
	assert_string_equal(patient.family, "Müller");
	assert_string_equal(patient.given, "");
	assert_string_equal(patient.sex, "F");
	assert_string_equal(patient.prefix, "Dr.");
	assert_string_equal(patient.identifiers[0].authority, "K");
	assert_int_equal(gw_patients_find(hub.patients, &(struct gw_identifier){ .id = gw_span_text("1") }, &number, NULL), GW_OK);
	told(EVENT(ADMIT, 0, WHO("1^^^L"), BED("B9")));
	assert_int_equal(gw_patients_find(hub.patients, &(struct gw_identifier){ .id = gw_span_text("1") }, &number, NULL), GW_E_ARGUMENT);
	assert_int_equal(gw_patients_find(hub.patients, &(struct gw_identifier){ .id = gw_span_text("5") }, &number, NULL), GW_E_NOT_FOUND);
	(void)state;
}

// ---- Records for outlets ----

struct seen {
	unsigned count;
	char bed[4][GW_BED_MAX + 1], device[4][GW_ID_MAX + 1];
	int64_t from_us[4], to_us[4];
};

static void
read_changes(uint64_t from, struct seen *seen)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	struct gw_association_change change;
	struct gw_record record;
	struct gw_span rest;
	size_t used;

	memset(seen, 0, sizeof(*seen));
	assert_int_equal(gw_journal_read(hub.journal, from, buf, sizeof(buf), &used, &from), GW_OK);
	for (rest = gw_span(buf, used); gw_journal_step(&rest, &record);) {
		if (record.type != GW_RECORD_ASSOCIATION)
			continue;
		assert_int_equal(gw_association_open(&record, &change, &hub.why), GW_OK);
		assert_true(seen->count < 4 && change.text.len > 0);
		memcpy(seen->bed[seen->count], change.bed.at, change.bed.len);
		memcpy(seen->device[seen->count], change.device.at, change.device.len);
		seen->from_us[seen->count] = change.from_us;
		seen->to_us[seen->count++] = change.to_us;
	}
}

static void
records_tell_what_changed(void **state)
{
	struct seen seen;
	uint64_t last;

	told(EVENT(ADMIT, 0, WHO("1"), BED("B3")));
	told(EVENT(ASSOCIATE, 1, WHO("1"), DEVICE("m1")));
	last = gw_journal_last(hub.journal);
	told(EVENT(TRANSFER, 5, WHO("1"), BED("B4")));
	read_changes(last + 1, &seen);
	assert_int_equal(seen.count, 3);
	assert_string_equal(seen.bed[0], "B3");
	assert_true(seen.from_us[0] == at(5) && seen.to_us[0] == GW_TIME_OPEN);
	assert_string_equal(seen.bed[1], "B4");
	assert_true(seen.from_us[1] == at(5));
	assert_string_equal(seen.device[2], "m1"); // flagged
	last = gw_journal_last(hub.journal);
	told(EVENT(TRANSFER, 5, WHO("1"), BED("B4"), TOLD(0))); // again: nothing
	told(EVENT(DISCHARGE, 9, WHO("1")));
	read_changes(last + 1, &seen);
	assert_int_equal(seen.count, 2);
	assert_true(seen.from_us[0] == at(9) && seen.to_us[0] == GW_TIME_OPEN);
	assert_true(seen.from_us[1] == at(9));
	(void)state;
}

static void
damaged_records(void **state)
{
	struct gw_association_change change = { .received_us = 5, .device = gw_span_text("m1"), .from_us = 1, .to_us = 2, .text = gw_span_text("words") }, again;
	struct gw_record record;
	uint8_t bytes[128];
	size_t len;

	assert_int_equal(gw_association_encode(&change, bytes, sizeof(bytes), &len), GW_OK);
	assert_int_equal(gw_association_encode(&change, bytes, len - 1, &len), GW_E_TOO_LARGE);
	assert_int_equal(gw_association_encode(&change, bytes, sizeof(bytes), &len), GW_OK);
	assert_int_equal(gw_record_open(1, gw_span(bytes, len), &record, &hub.why), GW_OK);
	assert_int_equal(gw_association_open(&record, &again, &hub.why), GW_OK);
	assert_true(again.from_us == 1 && again.to_us == 2 && again.received_us == 5 && gw_span_is(again.device, "m1") && gw_span_is(again.text, "words"));
	record.version = 2;
	assert_int_equal(gw_association_open(&record, &again, NULL), GW_E_VERSION);
	record.version = 1;
	record.bytes.len = len - 1;
	assert_int_equal(gw_association_open(&record, &again, NULL), GW_E_CORRUPT);
	(void)state;
}

// ---- Refusals, limits, forgetting ----

static void
refusals_change_nothing(void **state)
{
	static const char longer[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
	uint64_t last = gw_journal_last(hub.journal), generation = gw_patients_generation(hub.patients);
	struct gw_patients_stats stats;

	assert_int_equal(tell(EVENT(ADMIT, 0, BED("B1"))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(TRANSFER, 0, BED("B1"))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(ADMIT, 0, WHO(longer), BED("B1"))), GW_E_TOO_LARGE);
	assert_int_equal(tell((struct gw_patient_event){ .verb = GW_PATIENT_ADMIT, WHO("1"), BED("B1") }), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(ASSOCIATE, 5, WHO("1"), DEVICE("m1"), .until_us = at(4))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(ASSOCIATE, 5, WHO("1"))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(PLACE, 5, DEVICE("m1"))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(PLACE, 5, DEVICE("nosuch"), BED("B1"))), GW_E_NOT_FOUND);
	assert_int_equal(tell((struct gw_patient_event){ .verb = (enum gw_patient_verb)99, .time_us = T0 }), GW_E_ARGUMENT);
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.patients, 0);
	assert_int_equal(gw_journal_last(hub.journal), last);
	assert_int_equal(gw_patients_generation(hub.patients), generation);
	(void)state;
}

static void
limits(void **state)
{
	enum gw_error error = GW_OK;
	int n = 0;

	for (; n < 1000 && error == GW_OK; n++)
		error = tell(EVENT(TRANSFER, n, WHO("1"), BED(n % 2 == 0 ? "ICU^^3" : "B2")));
	assert_int_equal(error, GW_E_QUOTA);
	assert_in_range(n, 200, 300);
	assert_whose("wall3", 2, "1");
	gw_patients_configure(hub.patients, &(struct gw_patients_options){ .patients_max = 20 });
	assert_int_equal(tell(EVENT(ADMIT, 0, WHO("one more"), BED("B2"))), GW_E_QUOTA); // more facts than all patients may have
	gw_patients_configure(hub.patients, &(struct gw_patients_options){ .patients_max = 100 });
	for (n = 0, error = GW_OK; n < 1000 && error == GW_OK; n++) {
		char id[16];
		snprintf(id, sizeof(id), "x%d", n);
		error = tell(EVENT(ADMIT, 0, WHO(id), BED("B2")));
	}
	assert_int_equal(error, GW_E_QUOTA);
	assert_int_equal(n, 99);
	(void)state;
}

// An order for more devices than anybody has: it ends all of them, or refuses before.
static void
many_devices_of_one(void **state)
{
	static struct gw_device devices[300];
	enum gw_error error = GW_OK;
	int n = 0;

	for (int i = 0; i < 300; i++) {
		snprintf(devices[i].id, sizeof(devices[i].id), "d%d", i);
		strcpy(devices[i].profile, "p");
		strcpy(devices[i].user, devices[i].id);
		strcpy(devices[i].password_hash, "x");
	}
	assert_int_equal(gw_registry_add_many(hub.registry, devices, 300, &hub.why), GW_OK);
	for (; n < 300 && error == GW_OK; n++)
		error = tell(EVENT(ASSOCIATE, n, WHO("1"), DEVICE(devices[n].id), ORDER("O1")));
	assert_int_equal(error, GW_E_QUOTA);
	assert_int_equal(n, 257);
	told(EVENT(ASSOCIATE, 300, WHO("1"), DEVICE("d0"), ORDER("O2")));
	told(EVENT(ADMIT, 1, WHO("1"), BED("B1"))); // flags all of them
	told(EVENT(TRANSFER, 301, WHO("1"), BED("B2")));
	told(EVENT(DISSOCIATE, 400, WHO("1"), ORDER("O1")));
	assert_whose("d0", 400, "1");
	assert_whose("d1", 399, "1");
	assert_whose("d1", 400, "-");
	assert_whose("d255", 400, "-");
	(void)state;
}

static void
what_is_over_is_forgotten(void **state)
{
	struct gw_patients_stats stats;
	char id[16];

	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "p%d", i);
		told(EVENT(ADMIT, i, WHO(id), BED("B2")));
		told(EVENT(ASSOCIATE, i, WHO(id), DEVICE("m1"), .until_us = at(i) + MINUTE / 2));
		told(EVENT(DISCHARGE, i + 1, WHO(id)));
	}
	told(EVENT(ADMIT, 0, WHO("stays"), BED("ICU^^3")));
	told(EVENT(PLACE, 0, DEVICE("m2"), BED("B7")));
	told(EVENT(ADMIT, 0, WHO("stays, too"), BED("B7")));
	for (int i = 0; i < 20; i++) { // arrive in a clinic without devices, and nobody says that they leave
		snprintf(id, sizeof(id), "c%d", i);
		told(EVENT(ADMIT, i, WHO(id), BED("AMB")));
	}
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.patients, 72);
	gw_clock_fake_wall(NOW + 40 * 24 * 60 * MINUTE);
	for (int i = 0; i < 60; i++)
		told((struct gw_patient_event){ .verb = GW_PATIENT_TRANSFER, .time_us = NOW + (40 * 24 * 60 + i % 100) * MINUTE, WHO("new"), BED("B5") });
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.patients, 3);
	assert_whose("wall3", 40 * 24 * 60, "stays");
	assert_whose("m2", 40 * 24 * 60, "stays, too");
	hub_restart();
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.patients, 3);
	assert_whose("wall3", 40 * 24 * 60, "stays");
	assert_whose("m2", 40 * 24 * 60, "stays, too");
	(void)state;
}

static bool
count_row(void *arg, struct gw_span key, struct gw_span value)
{
	(void)key, (void)value;
	++*(unsigned *)arg;
	return true;
}

static unsigned
count_rows(const char *prefix)
{
	unsigned count = 0;

	assert_int_equal(gw_journal_each(hub.journal, gw_span_text(prefix), gw_span("", 0), count_row, &count), GW_OK);
	return count;
}

// A device that goes from patient to patient all day: each of them is found, after a restart, too, and nothing of it is kept for ever.
static void
round_of_the_ward(void **state)
{
	enum { VISITS = 2000, MANY = 3700 };
	static struct gw_patient_event events[MANY];
	static char ids[MANY][16];
	struct gw_why why;
	size_t failed;

	for (int i = 0; i < MANY; i++) {
		snprintf(ids[i], sizeof(ids[i]), "%d", i % 500);
		events[i] = EVENT(ASSOCIATE, i, WHO(ids[i]), DEVICE("m1"), .until_us = at(i) + MINUTE / 2, .source = gw_span_text("uid 1"));
	}
	gw_clock_fake_wall(at(MANY));
	if (gw_patients_change_many(hub.patients, events, VISITS, "test", &failed, &why) != GW_OK)
		fail_msg("%zu: %s", failed, why.text);
	hub_restart();
	assert_whose("m1", 0, "0");
	assert_whose("m1", 1750, "250");
	assert_true(owner_of("m1", at(1750) + MINUTE / 2, 0).whose == GW_WHOSE_NOBODY);
	assert_int_equal(count_rows("patient-device/"), 2 * VISITS);
	// Too much for one ticket: nothing of it.
	for (int i = 0; i < MANY; i++) {
		snprintf(ids[i], sizeof(ids[i]), "x%d", i);
		events[i].person = person_of(ids[i]);
		events[i].person.family = events[i].person.given = events[i].person.account = events[i].filler = events[i].visit = events[i].order =
		    gw_span_text("0123456789012345678901234567890123456789012345678901234567890123");
		events[i].source = events[i].order_authority = events[i].order;
		events[i].device = gw_span_text(i % 2 == 0 ? "m2" : "wall3");
	}
	assert_int_equal(gw_patients_change_many(hub.patients, events, MANY, "test", &failed, &why), GW_E_TOO_LARGE);
	assert_whose("m2", 0, "-");
	gw_clock_fake_wall(at(MANY) + 40 * 24 * 60 * MINUTE);
	for (int i = 0; i < 600; i++)
		told((struct gw_patient_event){ .verb = GW_PATIENT_PLACE, .time_us = at(40 * 24 * 60 + i % 20), DEVICE("m2"), BED(i % 2 == 0 ? "B1" : "B2") });
	assert_in_range(count_rows("patient-device/"), 1, 60);
	assert_int_equal(count_rows("patient/"), 0);
	(void)state;
}

// Whoever asks while it is told gets the answer before or after, never one in between.
static void *
ask_all_the_time(void *arg)
{
	_Atomic bool *end = arg;

	while (!atomic_load(end)) {
		struct gw_owner owner = owner_of("m1", at(5), 30 * MINUTE);
		struct gw_patient patient;
		struct gw_timeline *entries;
		size_t count;

		if (owner.whose == GW_WHOSE_PATIENT)
			(void)gw_patients_get(hub.patients, owner.patient, &patient);
		if (gw_patients_conflicts(hub.patients, INT64_MIN, &entries, &count) != GW_OK)
			abort();
		free(entries);
	}
	return NULL;
}

static void
many_threads(void **state)
{
	_Atomic bool end = false;
	pthread_t reader;

	assert_int_equal(pthread_create(&reader, NULL, ask_all_the_time, &end), 0);
	for (int i = 0; i < 150; i++) {
		told(EVENT(ADMIT, i % 7, WHO(i % 3 == 0 ? "1" : "2"), BED(i % 2 == 0 ? "B1" : "B2")));
		told(EVENT(PLACE, i % 5, DEVICE("m1"), BED(i % 2 == 0 ? "B1" : "B2")));
		told(EVENT(ASSOCIATE, i % 11, WHO("3"), DEVICE("m1"), .until_us = at(i % 11 + 1)));
		if (i % 50 == 49)
			assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
	}
	atomic_store(&end, true);
	pthread_join(reader, NULL);
	(void)state;
}

// Numbers are never given twice, also where their patient is forgotten and the program started again.
static void
numbers_are_not_reused(void **state)
{
	uint64_t first, second;

	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	first = owner_of("wall3", at(1), 0).patient;
	told(EVENT(DISCHARGE, 5, WHO("1")));
	gw_clock_fake_wall(NOW + 40 * 24 * 60 * MINUTE);
	told(EVENT(PLACE, 6, DEVICE("m1"), BED("B1")));
	told(EVENT(PLACE, 7, DEVICE("m1"), BED("B2")));
	assert_true(gw_patients_resolve(hub.patients, first) == 0);
	hub_restart();
	told(EVENT(ADMIT, 40 * 24 * 60, WHO("1"), BED("ICU^^3")));
	second = owner_of("wall3", at(40 * 24 * 60), 0).patient;
	assert_true(second > first);
	(void)state;
}

// A ticket that was not stored: memory goes back to what the store has, with what was under way before it.
static void
reload_takes_back(void **state)
{
	struct gw_patient_event one = EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")), two = EVENT(ADMIT, 0, WHO("2"), BED("B2"));
	struct gw_ticket *kept = gw_ticket_get(&hub.source), *dropped = gw_ticket_get(&hub.source);

	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B2")));
	gw_patients_lock(hub.patients);
	assert_int_equal(gw_patients_apply(hub.patients, &one, kept, &hub.why), GW_OK);
	assert_int_equal(gw_patients_apply(hub.patients, &two, dropped, &hub.why), GW_OK);
	gw_intake_submit(kept);
	gw_patients_unlock(hub.patients);
	assert_whose("m1", 1, "2");
	assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
	assert_whose("m1", 1, "-");
	assert_whose("wall3", 1, "1");
	while (gw_source_take(&hub.source) == NULL)
		;
	gw_ticket_release(kept);
	dropped->ops_len = 0;
	gw_ticket_release(dropped);
	(void)state;
}

// The rows of an event do not fit any more: nothing of it is kept, and nothing is built on it.
static void
failure_half_way(void **state)
{
	static uint8_t filling[1000000];
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);
	struct gw_patient_event event = EVENT(ADMIT, 0, WHO("2"), BED("ICU^^3"));
	uint32_t len;

	told(EVENT(ADMIT, 0, WHO("1"), BED("B2")));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B2")));
	for (int i = 0; i < 4; i++)
		assert_int_equal(gw_ticket_put(ticket, gw_span_text("filling"), gw_span(filling, sizeof(filling))), GW_OK);
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("filling"), gw_span(filling, (4u << 20) - ticket->ops_len - 200)), GW_OK);
	len = ticket->ops_len;
	assert_int_equal(gw_patients_apply(hub.patients, &event, ticket, &hub.why), GW_E_MEMORY);
	assert_int_equal(ticket->ops_len, len);
	gw_ticket_release(ticket);
	assert_int_equal(tell(EVENT(ADMIT, 0, WHO("3"), BED("B9"))), GW_E_MEMORY);
	assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
	assert_whose("wall3", 0, "-");
	assert_whose("m1", 0, "1");
	told(event);
	assert_whose("wall3", 0, "2");
	(void)state;
}

static void
by_command(void **state)
{
	struct gw_patient_event events[2] = { EVENT(ASSOCIATE, 0, WHO("1"), BED("ICU^^3"), .source = gw_span_text("uid 1000 (alice)")),
		EVENT(ASSOCIATE, 0, WHO("2"), DEVICE("nosuch")) };
	size_t failed = 99;

	assert_int_equal(gw_patients_change_many(hub.patients, events, 2, "census", &failed, &hub.why), GW_E_NOT_FOUND);
	assert_int_equal(failed, 1);
	assert_whose("wall3", 0, "-");
	assert_int_equal(gw_patients_change(hub.patients, &events[0], &hub.why), GW_OK);
	assert_whose("wall3", 0, "1");
	hub_restart();
	assert_whose("wall3", 0, "1");
	told(EVENT(DISSOCIATE, 5, BED("ICU^^3"))); // whoever is in it
	assert_whose("wall3", 4, "1");
	assert_whose("wall3", 5, "-");
	(void)state;
}

struct kept_row {
	char key[160];
	uint8_t value[1024];
	size_t key_len, value_len;
};
struct kept_rows {
	struct kept_row rows[32];
	size_t count;
};

static bool
keep_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct kept_rows *kept = arg;
	struct kept_row *row = &kept->rows[kept->count++];

	assert_true(kept->count <= 32 && key.len <= sizeof(row->key) && value.len <= sizeof(row->value));
	memcpy(row->key, key.at, row->key_len = key.len);
	memcpy(row->value, value.at, row->value_len = value.len);
	return true;
}

// Whatever a damaged disk gives: it opens, and answers.
static void
damaged_rows(void **state)
{
	static struct kept_rows kept;
	unsigned random = 1;

	told(EVENT(ADMIT, 0, WHO("1^^^K~2^^^L"), BED("ICU^^3"), ORDER("O1")));
	told(EVENT(TRANSFER, 5, WHO("1^^^K"), BED("B2")));
	told(EVENT(MERGE, 6, WHO("9"), .other = person_of("1^^^K")));
	told(EVENT(ADMIT, 6, WHO("8"), BED("B8")));
	told(EVENT(UPDATE, 7, WHO("8~2^^^L")));
	told(EVENT(ASSOCIATE, 0, WHO("1^^^K"), DEVICE("m1"), .until_us = at(9)));
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B2")));
	kept.count = 0;
	assert_int_equal(gw_journal_each(hub.journal, gw_span_text("patient"), gw_span("", 0), keep_row, &kept), GW_OK);
	assert_in_range(kept.count, 5, 32);
	for (int i = 0; i < 300; i++) {
		struct kept_row row = kept.rows[(random >> 8) % kept.count];
		struct gw_ticket *ticket = gw_ticket_get(&hub.source);
		int flips = 1 + i % 3;

		for (int f = 0; f < flips && row.value_len > 1; f++) {
			random = random * 1103515245u + 12345u;
			row.value[1 + (random >> 8) % (row.value_len - 1)] = (uint8_t)(random >> 20);
		}
		row.value_len -= i % 5 == 0 ? (random >> 12) % row.value_len : 0;
		assert_int_equal(gw_ticket_put(ticket, gw_span(row.key, row.key_len), gw_span(row.value, row.value_len)), GW_OK);
		assert_int_equal(gw_intake_commit(ticket), GW_OK);
		gw_ticket_release(ticket);
		assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
		(void)owner_of("m1", at(3), 2 * MINUTE);
		(void)owner_of("wall3", at(3), INT64_MAX);
		random = random * 1103515245u + 12345u;
	}
	told(EVENT(DISCHARGE, 20, WHO("9")));
	told(EVENT(MERGE, 30, WHO("2^^^L"), .other = person_of("9")));
	(void)state;
}

static void
rows_of_a_newer_program(void **state)
{
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);
	struct gw_patients *patients;

	told(EVENT(ADMIT, 0, WHO("1"), BED("ICU^^3")));
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("patient/00000000000000ff"), gw_span("\x01short", 6)), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	hub_restart(); // the damaged one is left out: it may be the one of whoever lies there now
	assert_whose("wall3", 0, "!");
	ticket = gw_ticket_get(&hub.source);
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("patient/00000000000000ff"), gw_span("\x04", 1)), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	assert_int_equal(gw_patients_open(hub.journal, hub.intake, hub.registry, &patients, &hub.why), GW_E_VERSION);
	(void)state;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_open, hub_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(admitted_moved_discharged), TEST(late_transfer), TEST(transfer_to_where_beds_have_no_names), TEST(transfer_out_of_no_known_bed), TEST(discharge_before_its_admission), TEST(cancels_restore),
		TEST(cancel_before_what_it_cancels), TEST(swap), TEST(merge), TEST(merge_of_several), TEST(changed_identifier), TEST(two_in_a_bed), TEST(direct_beats_bed),
		TEST(two_direct_associations), TEST(orders), TEST(seen_by_an_update), TEST(another_visit_ends_nothing), TEST(device_moves_between_beds),
		TEST(devices_of_a_bed), TEST(older_than_what_is_kept), TEST(uncertain_clocks), TEST(persons), TEST(records_tell_what_changed), TEST(damaged_records),
		TEST(refusals_change_nothing), TEST(limits), TEST(many_devices_of_one), TEST(what_is_over_is_forgotten), TEST(numbers_are_not_reused), TEST(reload_takes_back),
		TEST(failure_half_way), TEST(by_command), TEST(round_of_the_ward), TEST(many_threads), TEST(damaged_rows), TEST(rows_of_a_newer_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
