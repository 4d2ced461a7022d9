// SPDX-License-Identifier: Apache-2.0
// The table of sessions over a real journal: whose a session is, take-over, what survives a restart, expiry, wills that wait.
#include "store_help.h"

#include "adapters/mqtt/sessions.h"
#include "gateway/clock.h"

#include <sys/eventfd.h>
#include <unistd.h>

enum { OF_ONE = 10 };

static uint32_t connections_of_one = 100;
static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_source source;
static struct gw_mqtt_sessions *sessions;
static int wake_fd;
static int first, second; // stand for connections
static void *kicked;

static void
start(uint32_t most)
{
	struct gw_intake_options options = { .journal = journal = store_open() };
	struct gw_mqtt_sessions_options limits = { .sessions_max = most, .session_expiry_s_max = 3600,
		.sessions_of_one = OF_ONE, .connections_of_one = connections_of_one };
	struct gw_why why = { "" };

	assert_int_equal(gw_intake_open(&options, &intake, &why), GW_OK);
	assert_int_equal(gw_source_init(&source, intake, 8), GW_OK);
	limits.wake_fd = wake_fd = eventfd(0, EFD_NONBLOCK);
	if (gw_mqtt_sessions_open(&limits, journal, &sessions, &why) != GW_OK)
		fail_msg("%s", why.text);
	kicked = NULL;
}

static void
end(void)
{
	gw_mqtt_sessions_close(sessions);
	gw_source_fini(&source);
	gw_intake_close(intake);
	gw_journal_close(journal);
	close(wake_fd);
}

static void
on_kick(void *owner)
{
	kicked = owner;
}

static enum gw_error
claim(const char *principal, const char *id, bool clean, uint32_t expiry_s, void *owner, struct gw_mqtt_session **session, bool *present)
{
	struct gw_mqtt_claim c = {
		.principal = gw_span_text(principal), .client_id = gw_span_text(id), .clean = clean, .expiry_s = expiry_s, .owner = owner,
	};
	enum gw_error error = gw_mqtt_sessions_claim(sessions, &c, on_kick, session);

	*present = c.present;
	return error;
}

static bool
was_woken(void)
{
	uint64_t count;

	return read(wake_fd, &count, sizeof(count)) == sizeof(count);
}

// The row as a serving thread writes it.
static void
store(struct gw_mqtt_session *session)
{
	struct gw_ticket *ticket = gw_ticket_get(&source);

	ticket->essential = true;
	assert_int_equal(gw_mqtt_session_put(ticket, session), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	session->stored = true;
}

static void
test_whose(void **state)
{
	struct gw_mqtt_session *a, *b, *c;
	bool present;

	(void)state;
	start(100);
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &a, &present), GW_OK);
	assert_false(present);
	assert_int_equal(claim("mon2", "c1", false, 60, &second, &b, &present), GW_OK); // the same identifier of another principal
	assert_false(present);
	assert_ptr_not_equal(a, b);
	assert_null(kicked);
	assert_int_equal(claim("mon1", "c1", false, 60, &second, &c, &present), GW_E_BUSY);
	assert_ptr_equal(kicked, &first);
	assert_null(c);
	assert_false(was_woken());
	gw_mqtt_sessions_release(sessions, a, NULL);
	assert_true(was_woken()); // somebody waits for it
	assert_int_equal(claim("mon1", "c1", false, 60, &second, &c, &present), GW_OK);
	assert_true(present);
	gw_mqtt_sessions_release(sessions, c, NULL);
	assert_false(was_woken());
	gw_mqtt_sessions_release(sessions, b, NULL);
	end();
}

static void
test_clean_start(void **state)
{
	struct gw_mqtt_session *s;
	bool present;

	(void)state;
	start(100);
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	assert_int_equal(gw_mqtt_session_hold(s, 7, GW_MQTT_HELD_COMMITTED), GW_OK);
	store(s);
	gw_mqtt_sessions_release(sessions, s, NULL);
	assert_int_equal(claim("mon1", "c1", true, 60, &first, &s, &present), GW_OK);
	assert_false(present);
	assert_true(s->purge); // its rows are to go first
	assert_int_equal(gw_mqtt_session_held(s, 7), GW_MQTT_HELD_NOT);
	gw_mqtt_sessions_release(sessions, s, NULL);
	end();
}

static void
test_ends_with_connection(void **state)
{
	struct gw_mqtt_session *s;
	bool present;

	(void)state;
	start(100);
	assert_int_equal(claim("mon1", "c1", true, 0, &first, &s, &present), GW_OK);
	assert_int_equal(gw_mqtt_sessions_count(sessions), 1);
	gw_mqtt_sessions_release(sessions, s, NULL);
	assert_int_equal(gw_mqtt_sessions_count(sessions), 0);
	end();
}

static void
test_too_many(void **state)
{
	struct gw_mqtt_session *a, *b;
	bool present;

	(void)state;
	start(1);
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &a, &present), GW_OK);
	assert_int_equal(claim("mon1", "c2", false, 60, &second, &b, &present), GW_E_QUOTA);
	assert_int_equal(claim("mon1", "c2", false, 0, &second, &b, &present), GW_OK); // does not outlive its connection
	gw_mqtt_sessions_release(sessions, a, NULL);
	gw_mqtt_sessions_release(sessions, b, NULL);
	end();
}

static void
expire_all(int64_t wall_us, unsigned expected)
{
	struct gw_ticket *ticket = gw_ticket_get(&source);
	unsigned count = 0;

	for (int i = 0; i < 20; i++) // a call looks at a part of the table
		count += gw_mqtt_sessions_expire(sessions, wall_us, ticket, 1000);
	assert_int_equal(count, expected);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
}

// A client identifier of its own at each start: the oldest sessions go, never those of others nor one that has a connection.
static void
test_too_many_of_one(void **state)
{
	struct gw_mqtt_session *s, *held;
	bool present;
	char id[24];

	(void)state;
	start(1000);
	assert_int_equal(claim("mon1", "held", false, 3600, &first, &held, &present), GW_OK);
	assert_int_equal(claim("mon2", "other", false, 3600, &second, &s, &present), GW_OK);
	gw_mqtt_sessions_release(sessions, s, NULL);
	for (int i = 0; i < 3 * OF_ONE; i++) {
		snprintf(id, sizeof(id), "made-up-%d", i);
		assert_int_equal(claim("mon1", id, false, 3600, &second, &s, &present), GW_OK);
		assert_false(present);
		s->ended_us = gw_clock_wall_us() + i; // one after the other, however coarse the clock
		gw_mqtt_sessions_release(sessions, s, NULL);
	}
	expire_all(gw_clock_wall_us() + INT64_C(1000000), 2 * OF_ONE + 1);
	assert_int_equal(gw_mqtt_sessions_count(sessions), OF_ONE + 1);
	assert_int_equal(claim("mon1", id, false, 3600, &second, &s, &present), GW_OK);
	assert_true(present); // the youngest is there
	gw_mqtt_sessions_release(sessions, s, NULL);
	assert_int_equal(claim("mon2", "other", false, 3600, &second, &s, &present), GW_OK);
	assert_true(present);
	gw_mqtt_sessions_release(sessions, s, NULL);
	gw_mqtt_sessions_release(sessions, held, NULL);
	end();
}

// Connections of one principal have a limit; whoever takes over its own session is none too many.
static void
test_too_many_connections_of_one(void **state)
{
	struct gw_mqtt_claim beyond = { .principal = gw_span_text("mon1"), .client_id = gw_span_text("c"), .owner = &second };
	struct gw_mqtt_session *a, *b, *s;
	bool present;

	(void)state;
	connections_of_one = 2;
	start(1000);
	assert_int_equal(claim("mon1", "a", false, 3600, &first, &a, &present), GW_OK);
	assert_int_equal(claim("mon1", "b", true, 0, &first, &b, &present), GW_OK);
	assert_int_equal(gw_mqtt_sessions_claim(sessions, &beyond, on_kick, &s), GW_E_QUOTA);
	assert_true(beyond.crowded);
	assert_null(s);
	assert_int_equal(claim("mon2", "c", true, 0, &second, &s, &present), GW_OK); // another's are not counted
	gw_mqtt_sessions_release(sessions, s, NULL);
	assert_int_equal(claim("mon1", "a", false, 3600, &second, &s, &present), GW_E_BUSY);
	assert_ptr_equal(kicked, &first);
	gw_mqtt_sessions_release(sessions, a, NULL);
	assert_int_equal(claim("mon1", "a", false, 3600, &second, &a, &present), GW_OK);
	assert_true(present);
	assert_int_equal(gw_mqtt_sessions_claim(sessions, &beyond, on_kick, &s), GW_E_QUOTA);
	gw_mqtt_sessions_release(sessions, b, NULL);
	assert_int_equal(gw_mqtt_sessions_claim(sessions, &beyond, on_kick, &s), GW_OK);
	assert_false(beyond.crowded);
	gw_mqtt_sessions_release(sessions, s, NULL);
	gw_mqtt_sessions_release(sessions, a, NULL);
	end();
	connections_of_one = 100;
}

static void
test_restart(void **state)
{
	struct gw_mqtt_session *s;
	struct gw_ticket *ticket;
	bool present;

	(void)state;
	start(100);
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	assert_int_equal(gw_mqtt_session_subscribe(s, gw_span_text("downlink/mon1/#"), 1, 4), GW_OK);
	store(s);
	ticket = gw_ticket_get(&source);
	assert_int_equal(gw_mqtt_session_hold(s, 7, GW_MQTT_HELD_PENDING), GW_OK);
	gw_mqtt_session_set_hash(s, 7, UINT64_C(0x0123456789ABCDEF));
	assert_int_equal(gw_mqtt_session_put_id(ticket, s, 7), GW_OK);
	assert_int_equal(gw_mqtt_session_put_id(ticket, s, 65535), GW_OK);
	assert_int_equal(gw_mqtt_session_put_id(ticket, s, 8), GW_OK);
	assert_int_equal(gw_mqtt_session_drop_id(ticket, s, 8), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	end(); // while it is connected
	start(100);
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	assert_true(present);
	assert_int_equal(s->subscription_count, 1);
	assert_int_equal(s->qos2_count, 2);
	assert_int_equal(gw_mqtt_session_held(s, 7), GW_MQTT_HELD_COMMITTED);
	assert_true(gw_mqtt_session_held_hash(s, 7) == UINT64_C(0x0123456789ABCDEF));
	assert_int_equal(gw_mqtt_session_held(s, 65535), GW_MQTT_HELD_COMMITTED);
	ticket = gw_ticket_get(&source);
	assert_int_equal(gw_mqtt_session_drop(ticket, s), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	end();
	start(100);
	assert_int_equal(gw_mqtt_sessions_count(sessions), 0);
	end();
}

static void
test_expiry(void **state)
{
	struct gw_mqtt_session *s, *t;
	int64_t now = gw_clock_wall_us();
	bool present;

	(void)state;
	start(100);
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	assert_int_equal(claim("mon1", "c2", false, 3600, &second, &t, &present), GW_OK);
	store(s);
	store(t);
	expire_all(now + INT64_C(7200000000), 0); // both are connected
	gw_mqtt_sessions_release(sessions, s, NULL);
	gw_mqtt_sessions_release(sessions, t, NULL);
	expire_all(now + INT64_C(50000000), 0);
	expire_all(now + INT64_C(120000000), 1);
	assert_int_equal(gw_mqtt_sessions_count(sessions), 1);
	end();
	start(100); // its row went too
	assert_int_equal(gw_mqtt_sessions_count(sessions), 1);
	end();
}

static struct gw_mqtt_will *
will_of(uint32_t delay_s)
{
	struct gw_mqtt_will *will = calloc(1, sizeof(*will) + 1);

	assert_non_null(will);
	will->delay_s = delay_s;
	return will;
}

// How many are due then; they are gone afterwards.
static unsigned
due(int64_t us)
{
	struct gw_mqtt_will *will = gw_mqtt_sessions_wills(sessions, us), *next;
	unsigned count = 0;

	for (; will != NULL; will = next, count++) {
		next = will->next;
		free(will);
	}
	return count;
}

static void
test_wills(void **state)
{
	int64_t now = gw_clock_mono_us();
	struct gw_mqtt_session *s;
	bool present;

	(void)state;
	start(100);
	// At once, also when its session goes on.
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	gw_mqtt_sessions_release(sessions, s, will_of(0));
	assert_true(was_woken());
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	assert_int_equal(due(now + INT64_C(1000000)), 1);
	// After its delay.
	gw_mqtt_sessions_release(sessions, s, will_of(10));
	assert_int_equal(due(now + INT64_C(5000000)), 0);
	assert_int_equal(due(now + INT64_C(20000000)), 1);
	// Never, where the session goes on before.
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	gw_mqtt_sessions_release(sessions, s, will_of(10));
	assert_int_equal(claim("mon1", "c1", false, 60, &first, &s, &present), GW_OK);
	assert_int_equal(due(now + INT64_C(90000000)), 0);
	// At once, where the session is thrown away; and no later than the session ends.
	gw_mqtt_sessions_release(sessions, s, will_of(50));
	assert_int_equal(claim("mon1", "c1", true, 5, &first, &s, &present), GW_OK);
	assert_int_equal(due(now + INT64_C(1000000)), 1);
	gw_mqtt_sessions_release(sessions, s, will_of(50));
	assert_int_equal(due(now + INT64_C(10000000)), 1);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whose, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_clean_start, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_ends_with_connection, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_too_many, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_too_many_of_one, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_too_many_connections_of_one, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_restart, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_expiry, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_wills, store_make, store_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
