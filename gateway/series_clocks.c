// SPDX-License-Identifier: Apache-2.0
// The history of one device's clock: what was measured becomes pieces. Pure; whoever holds the history.
#include "gateway/series_clocks.h"

#include "gateway/bytes.h"

#include <string.h>

#define BACK_US INT64_C(1000000)            // a device's frames may be committed slightly out of order
#define GAP_US INT64_C(8000000000)          // longer without a measurement: drift has its own piece
#define BRIDGE_US INT64_C(1000000000)
#define CALMER_US INT64_C(2000000)          // less uncertain by this, and by half: worth a piece
#define ROUNDED_US 999                      // receive times come back that much early

static int64_t
limited(int64_t us)
{
	return us > GW_CLOCK_LIMIT_US ? GW_CLOCK_LIMIT_US : us < -GW_CLOCK_LIMIT_US ? -GW_CLOCK_LIMIT_US : us;
}

static int64_t
least_of(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
most_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
apart(int64_t a, int64_t b)
{
	return a > b ? a - b : b - a;
}

static int64_t
drift_us(int64_t from_us, int64_t to_us)
{
	return apart(from_us, to_us) / GW_DEVICE_CLOCK_DRIFT;
}

// ---- Lines ----

// The offset on a piece's line at a receive time within it.
static int64_t
offset_at(const struct gw_clock_piece *piece, int64_t us)
{
	int64_t rise_us = piece->offset_us[1] - piece->offset_us[0];

	if (rise_us == 0 || piece->to_us <= piece->from_us)
		return piece->offset_us[0];
	return piece->offset_us[0] + (int64_t)((double)rise_us * ((double)(us - piece->from_us) / (double)(piece->to_us - piece->from_us)));
}

static void
cut(struct gw_clock_piece *piece, int64_t to_us)
{
	if (!piece->loose)
		piece->offset_us[1] = offset_at(piece, to_us);
	piece->to_us = to_us;
}

// Drops what begins at or after a receive time, and cuts what reaches beyond it.
static void
cut_all(struct gw_clock_history *history, int64_t from_us)
{
	history->changes += history->count > 0 && history->pieces[history->count - 1].to_us >= from_us;
	while (history->count > 0 && history->pieces[history->count - 1].from_us >= from_us)
		history->count--;
	if (history->count > 0 && history->pieces[history->count - 1].to_us >= from_us)
		cut(&history->pieces[history->count - 1], from_us - 1);
}

// ---- Too many ----

static bool
are_joinable(const struct gw_clock_piece *a, const struct gw_clock_piece *b)
{
	return !a->loose && !b->loose && a->epoch == b->epoch && a->to_us + 1 == b->from_us;
}

// One line for two: farthest off where they meet.
static struct gw_clock_piece
joined(const struct gw_clock_piece *a, const struct gw_clock_piece *b)
{
	struct gw_clock_piece piece = { a->from_us, b->to_us, { a->offset_us[0], b->offset_us[1] }, most_of(a->spread_us, b->spread_us), a->epoch, false };
	int64_t meet_us = offset_at(&piece, a->to_us);

	piece.spread_us += most_of(apart(meet_us, a->offset_us[1]), apart(meet_us, b->offset_us[0]));
	return piece;
}

static struct gw_clock_piece
loosened(const struct gw_clock_piece *a, const struct gw_clock_piece *b)
{
	int64_t low_us = least_of(least_of(a->offset_us[0], a->offset_us[1]), least_of(b->offset_us[0], b->offset_us[1]));
	int64_t high_us = most_of(most_of(a->offset_us[0], a->offset_us[1]), most_of(b->offset_us[0], b->offset_us[1]));

	return (struct gw_clock_piece){ a->from_us, b->to_us, { low_us, high_us }, most_of(a->spread_us, b->spread_us), a->epoch, true };
}

// One fewer; the last stays, which may still grow.
static void
make_fewer(struct gw_clock_history *history)
{
	struct gw_clock_piece *pieces = history->pieces, best = loosened(&pieces[0], &pieces[1]);
	size_t at = 0;
	bool any = false;

	for (size_t i = 0; i + 2 < history->count; i++) {
		struct gw_clock_piece piece;

		if (!are_joinable(&pieces[i], &pieces[i + 1]))
			continue;
		piece = joined(&pieces[i], &pieces[i + 1]);
		if (piece.spread_us > GW_CLOCK_JOIN_US || (any && piece.spread_us >= best.spread_us))
			continue;
		best = piece;
		at = i;
		any = true;
	}
	pieces[at] = best;
	history->count--;
	memmove(&pieces[at + 1], &pieces[at + 2], (history->count - at - 1) * sizeof(*pieces));
}

// ---- Frames ----

// What has been measured since it came holds for what lies between pieces of an epoch, too. Where that is long, the offset may have gone any way between.
static void
close_gaps(struct gw_clock_history *history)
{
	struct gw_clock_piece *pieces = history->pieces;
	bool left = false;

	for (size_t i = history->count; i-- > 1;) {
		struct gw_clock_piece *a = &pieces[i - 1], *b = &pieces[i];
		int64_t gap_us = b->from_us - a->to_us - 1;

		if (a->loose || a->epoch != b->epoch || a->to_us < history->barrier_us)
			break;
		if (gap_us == 0)
			continue;
		history->changes++;
		if (gap_us <= BRIDGE_US) {
			a->to_us = b->from_us - 1;
			a->spread_us += drift_us(0, gap_us);
		} else if (history->count < GW_CLOCK_PIECES_MAX) {
			struct gw_clock_piece bridge = { a->to_us + 1, b->from_us - 1, { a->offset_us[1], b->offset_us[0] },
				most_of(a->spread_us, b->spread_us) + drift_us(0, gap_us), a->epoch, false };

			memmove(&pieces[i + 1], &pieces[i], (history->count - i) * sizeof(*pieces));
			pieces[i] = bridge;
			history->count++;
		} else {
			left = true;
		}
	}
	history->gaps = left;
}

static void
begin(struct gw_clock_history *history, const struct gw_clock_known *known)
{
	cut_all(history, known->from_us);
	history->changes++;
	while (history->count > GW_CLOCK_PIECES_MAX - 2) // one is left for a bridge
		make_fewer(history);
	history->pieces[history->count++] = (struct gw_clock_piece){ known->from_us, known->to_us, { known->offset_us, known->offset_us }, known->uncertainty_us,
		known->epoch, false };
	history->base_us = known->uncertainty_us;
}

static bool
goes_on(const struct gw_clock_history *history, const struct gw_clock_known *known)
{
	const struct gw_clock_piece *last = history->count > 0 ? &history->pieces[history->count - 1] : NULL;

	return last != NULL && !last->loose && last->epoch == known->epoch && last->to_us >= history->barrier_us;
}

// The last piece reaches as far as this, or another of its epoch begins.
static void
extend(struct gw_clock_history *history, const struct gw_clock_known *known, int64_t received_us)
{
	struct gw_clock_piece *last = &history->pieces[history->count - 1];
	int64_t gap_us = known->to_us - last->to_us, uncertainty_us = known->uncertainty_us + (gap_us > 0 ? drift_us(0, gap_us) : 0);
	int64_t need_us = apart(known->offset_us, last->offset_us[1]) + uncertainty_us, better_us = uncertainty_us + drift_us(last->from_us, known->to_us);
	bool line = last->offset_us[0] != last->offset_us[1], calmer = last->spread_us - need_us > CALMER_US && last->spread_us > 2 * need_us;

	if (!line && better_us < last->spread_us) {
		history->changes += apart(known->offset_us, last->offset_us[0]) > GW_CLOCK_TOLERANCE_US;
		last->offset_us[0] = last->offset_us[1] = known->offset_us;
		last->spread_us = history->base_us = better_us;
	} else if (line || gap_us > GAP_US || calmer || need_us > history->base_us + GW_CLOCK_TOLERANCE_US) {
		if (received_us <= last->from_us)
			return;
		begin(history, &(struct gw_clock_known){ received_us, most_of(received_us, known->to_us), known->offset_us, known->uncertainty_us, known->epoch });
		history->gaps = true;
		return;
	}
	last->spread_us = most_of(last->spread_us, need_us);
	last->to_us = most_of(last->to_us, known->to_us);
}

// The present epoch from its first frame to its last live one.
static void
take_known(struct gw_clock_history *history, struct gw_clock_known *known, int64_t received_us)
{
	known->from_us = most_of(known->from_us, history->barrier_us + 1);
	if (known->from_us > known->to_us)
		return;
	if (goes_on(history, known)) {
		extend(history, known, received_us);
		if (history->gaps && known->to_us >= received_us)
			close_gaps(history);
	} else {
		// A step, and no live frame since a backfill: what that was, nobody can tell any more.
		if (history->count > 0 && history->pieces[history->count - 1].epoch != known->epoch)
			cut_all(history, history->live_us + 1);
		known->uncertainty_us += drift_us(known->from_us, known->to_us);
		begin(history, known);
	}
	history->live_us = known->to_us;
}

// A frame that is sure by an offset that was not measured by it: a backfill that catches up, or after hours of silence. It says nothing of those before it.
static void
take_alone(struct gw_clock_history *history, const struct gw_clock_view *view, int64_t received_us)
{
	struct gw_clock_known known = { received_us, received_us, view->offset_us, view->spread_us, view->epoch };

	if (received_us <= history->barrier_us || !goes_on(history, &known) || received_us <= history->pieces[history->count - 1].to_us)
		return;
	known.uncertainty_us += drift_us(view->measured_from_us, received_us);
	if (history->open) {
		extend(history, &known, received_us);
	} else {
		begin(history, &known);
		history->gaps = true;
	}
}

void
gw_clock_history_take(struct gw_clock_history *history, uint64_t position, int64_t received_us, int64_t newest_us)
{
	struct gw_clock_view view;
	struct gw_clock_known known;

	if (newest_us == GW_CLOCK_NO_TIME || position <= history->upto)
		return;
	received_us = limited(received_us);
	if (history->again_us != 0 && received_us <= history->again_us)
		return;
	history->again_us = 0;
	history->upto = position;
	if (history->unsaved == 0)
		history->unsaved = position;
	if (received_us < history->most_us - BACK_US) {
		cut_all(history, received_us);
		history->barrier_us = most_of(history->barrier_us, history->most_us);
	}
	history->most_us = most_of(history->most_us, received_us);
	history->now_us = received_us;
	gw_device_clock_take(&history->clock, received_us, newest_us, &view);
	if (gw_device_clock_known(&history->clock, &known)) {
		take_known(history, &known, received_us);
		if (view.sure && received_us > known.to_us)
			take_alone(history, &view, received_us);
	}
	history->open = history->count > 0 && history->pieces[history->count - 1].to_us >= received_us;
}

void
gw_clock_history_again(struct gw_clock_history *history)
{
	history->upto = history->unsaved = 0;
	history->again_us = history->most_us;
}

void
gw_clock_history_trim(struct gw_clock_history *history, int64_t before_us)
{
	size_t old = 0;

	while (old < history->count && history->pieces[old].to_us < before_us)
		old++;
	history->count -= (uint16_t)old;
	if (old > 0)
		memmove(history->pieces, history->pieces + old, history->count * sizeof(history->pieces[0]));
}

// ---- For readers ----

void
gw_clock_history_copy(const struct gw_clock_history *history, struct gw_clock_pieces *pieces)
{
	pieces->count = history->count;
	pieces->found = 0;
	pieces->most_us = history->most_us;
	pieces->now_us = history->now_us;
	memcpy(pieces->at, history->pieces, history->count * sizeof(history->pieces[0]));
}

// The last piece that begins at or before; count: none does.
static size_t
search(const struct gw_clock_piece *pieces, size_t count, int64_t us)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pieces[middle].from_us <= us)
			low = middle + 1;
		else
			high = middle;
	}
	return low == 0 ? count : low - 1;
}

// The same, where neighbours usually share it.
static size_t
find(struct gw_clock_pieces *pieces, int64_t us)
{
	size_t found = pieces->found;

	if (found < pieces->count && pieces->at[found].from_us <= us && (found + 1 == pieces->count || pieces->at[found + 1].from_us > us))
		return found;
	found = search(pieces->at, pieces->count, us);
	if (found < pieces->count)
		pieces->found = found;
	return found;
}

static void
take_in(const struct gw_clock_piece *piece, int64_t *low_us, int64_t *high_us)
{
	*low_us = least_of(*low_us, least_of(piece->offset_us[0], piece->offset_us[1]) - piece->spread_us);
	*high_us = most_of(*high_us, most_of(piece->offset_us[0], piece->offset_us[1]) + piece->spread_us);
}

// Behind the piece at `at` (count: before the first), in none.
static void
between(const struct gw_clock_pieces *pieces, size_t at, int64_t *low_us, int64_t *high_us)
{
	size_t next = at < pieces->count ? at + 1 : 0;

	*low_us = INT64_MAX;
	*high_us = INT64_MIN;
	if (at < pieces->count)
		take_in(&pieces->at[at], low_us, high_us);
	if (next < pieces->count)
		take_in(&pieces->at[next], low_us, high_us);
}

static bool
covers(const struct gw_clock_pieces *pieces, size_t at, int64_t received_us)
{
	return at < pieces->count && received_us <= pieces->at[at].to_us && !pieces->at[at].loose;
}

bool
gw_clock_pieces_offset(struct gw_clock_pieces *pieces, int64_t received_us, struct gw_clock_offset *offset)
{
	size_t at;

	if (pieces->count == 0)
		return false;
	received_us = limited(received_us);
	at = find(pieces, received_us + ROUNDED_US);
	if (covers(pieces, at, received_us)) {
		int64_t within_us = most_of(received_us, pieces->at[at].from_us);

		*offset = (struct gw_clock_offset){ .sure = true, .us = offset_at(&pieces->at[at], within_us), .spread_us = pieces->at[at].spread_us };
		return true;
	}
	*offset = (struct gw_clock_offset){ 0 };
	between(pieces, at, &offset->low_us, &offset->high_us);
	return true;
}

// A line rises or falls: its ends are its bounds.
bool
gw_clock_pieces_part(struct gw_clock_pieces *pieces, int64_t from_us, int64_t to_us, struct gw_clock_part *part)
{
	size_t at, next;

	if (pieces->count == 0)
		return false;
	from_us = limited(from_us);
	to_us = limited(to_us);
	at = find(pieces, from_us + ROUNDED_US);
	next = at < pieces->count ? at + 1 : 0;
	*part = (struct gw_clock_part){ .from_us = from_us, .to_us = to_us };
	if (next < pieces->count)
		part->to_us = least_of(part->to_us, pieces->at[next].from_us - ROUNDED_US - 1);
	if (covers(pieces, at, from_us)) {
		const struct gw_clock_piece *piece = &pieces->at[at];
		int64_t ends_us[2];

		part->to_us = least_of(part->to_us, piece->to_us);
		ends_us[0] = offset_at(piece, most_of(from_us, piece->from_us));
		ends_us[1] = offset_at(piece, most_of(part->to_us, piece->from_us));
		part->sure = true;
		part->least_us = least_of(ends_us[0], ends_us[1]);
		part->most_us = most_of(ends_us[0], ends_us[1]);
		part->spread_us = piece->spread_us;
		return true;
	}
	between(pieces, at, &part->low_us, &part->high_us);
	return true;
}

// ---- Which is the newer ----

static int64_t
middle_us(const struct gw_clock_piece *piece)
{
	return piece->offset_us[0] + (piece->offset_us[1] - piece->offset_us[0]) / 2;
}

// at: of the last piece that begins at or before; count: none does.
static void
guess_by(const struct gw_clock_piece *pieces, size_t count, size_t at, int64_t received_us, struct gw_clock_guess *guess)
{
	*guess = (struct gw_clock_guess){ .reach_us = INT64_MAX };
	if (count == 0)
		return;
	if (at < count && pieces[at].loose && received_us <= pieces[at].to_us) {
		memcpy(guess->offset_us, pieces[at].offset_us, sizeof(guess->offset_us));
	} else if (at < count && received_us <= pieces[at].to_us) {
		guess->offset_us[0] = guess->offset_us[1] = offset_at(&pieces[at], most_of(received_us, pieces[at].from_us));
		guess->sure = true;
	} else {
		const struct gw_clock_piece *before = &pieces[at < count ? at : 0], *after = at < count && at + 1 < count ? before + 1 : before;

		guess->offset_us[0] = before == after || before->loose ? middle_us(before) : before->offset_us[1];
		guess->offset_us[1] = after->loose ? middle_us(after) : after->offset_us[0];
	}
}

void
gw_clock_pieces_guess(struct gw_clock_pieces *pieces, int64_t received_us, struct gw_clock_guess *guess)
{
	received_us = limited(received_us);
	guess_by(pieces->at, pieces->count, find(pieces, received_us + ROUNDED_US), received_us, guess);
	guess->reach_us = pieces->now_us;
}

void
gw_clock_history_guess(const struct gw_clock_history *history, int64_t received_us, struct gw_clock_guess *guess)
{
	size_t count = history != NULL ? history->count : 0;

	received_us = limited(received_us);
	if (count > 0 && history->open && received_us >= history->pieces[count - 1].to_us)
		received_us = history->pieces[count - 1].to_us; // it goes on, most likely
	guess_by(count > 0 ? history->pieces : NULL, count, count > 0 ? search(history->pieces, count, received_us) : 0, received_us, guess);
}

static bool
may_be(int64_t us, int64_t received_us)
{
	return us <= received_us + GW_DEVICE_CLOCK_STEP_US && us >= received_us - GW_DEVICE_CLOCK_GARBAGE_US;
}

int64_t
gw_clock_moment(const struct gw_clock_guess *guess, const struct gw_reading *reading, int64_t received_us)
{
	int64_t offsets[] = { guess->offset_us[0], guess->offset_us[1], 0 }, best_us = INT64_MIN, time_us = limited(reading->time_us);

	received_us = least_of(limited(received_us), guess->reach_us);
	if (reading->flags & GW_FLAG_NO_DEVICE_TIME)
		return least_of(time_us, received_us);
	if (guess->sure && may_be(time_us + offsets[0], received_us))
		return least_of(time_us + offsets[0], received_us);
	for (size_t i = 0; i < 3; i++)
		if (may_be(time_us + offsets[i], received_us))
			best_us = most_of(best_us, time_us + offsets[i]);
	if (best_us == INT64_MIN)
		best_us = time_us < GW_DEVICE_CLOCK_UNSET_US ? received_us : time_us;
	return least_of(best_us, received_us);
}

// A piece's offset counts for nothing that was received after the next one began.
int64_t
gw_clock_pieces_bound(const struct gw_clock_pieces *pieces, int64_t time_us)
{
	int64_t bound_us = time_us < GW_DEVICE_CLOCK_UNSET_US ? INT64_MAX : limited(time_us);

	for (size_t i = 0; i < pieces->count; i++) {
		int64_t until_us = i + 1 < pieces->count ? pieces->at[i + 1].from_us : INT64_MAX;
		int64_t us = limited(time_us) + most_of(pieces->at[i].offset_us[0], pieces->at[i].offset_us[1]);

		bound_us = most_of(bound_us, least_of(us, until_us));
	}
	return least_of(bound_us, pieces->now_us);
}

// ---- Stored form ----

enum { HEAD_VERSION = 0, HEAD_FLAGS = 1, HEAD_COUNT = 2, HEAD_INCARNATION = 4, HEAD_UPTO = 12, HEAD_MOST = 20, HEAD_BARRIER = 28, HEAD_BASE = 36, HEAD_LIVE = 44, HEAD_CLOCK = 52 };
enum { PIECE_FROM = 0, PIECE_TO = 8, PIECE_OFFSET = 16, PIECE_OFFSET_TO = 24, PIECE_SPREAD = 32, PIECE_EPOCH = 40, PIECE_LOOSE = 44 };
enum { FLAG_OPEN = 1, FLAG_GAPS = 2 };

_Static_assert(HEAD_CLOCK + GW_DEVICE_CLOCK_BYTES == GW_CLOCK_HISTORY_HEAD && PIECE_LOOSE + 1 == GW_CLOCK_PIECE_BYTES, "the layout is told once");

static void
put_piece(const struct gw_clock_piece *piece, uint8_t *at)
{
	gw_put64(at + PIECE_FROM, (uint64_t)piece->from_us);
	gw_put64(at + PIECE_TO, (uint64_t)piece->to_us);
	gw_put64(at + PIECE_OFFSET, (uint64_t)piece->offset_us[0]);
	gw_put64(at + PIECE_OFFSET_TO, (uint64_t)piece->offset_us[1]);
	gw_put64(at + PIECE_SPREAD, (uint64_t)piece->spread_us);
	gw_put32(at + PIECE_EPOCH, piece->epoch);
	at[PIECE_LOOSE] = piece->loose;
}

size_t
gw_clock_history_save(const struct gw_clock_history *history, uint64_t incarnation, uint8_t out[GW_CLOCK_HISTORY_BYTES])
{
	out[HEAD_VERSION] = 1;
	out[HEAD_FLAGS] = (uint8_t)((history->open ? FLAG_OPEN : 0) | (history->gaps ? FLAG_GAPS : 0));
	gw_put16(out + HEAD_COUNT, history->count);
	gw_put64(out + HEAD_INCARNATION, incarnation);
	gw_put64(out + HEAD_UPTO, history->upto);
	gw_put64(out + HEAD_MOST, (uint64_t)history->most_us);
	gw_put64(out + HEAD_BARRIER, (uint64_t)history->barrier_us);
	gw_put64(out + HEAD_BASE, (uint64_t)history->base_us);
	gw_put64(out + HEAD_LIVE, (uint64_t)history->live_us);
	gw_device_clock_save(&history->clock, out + HEAD_CLOCK);
	for (size_t i = 0; i < history->count; i++)
		put_piece(&history->pieces[i], out + GW_CLOCK_HISTORY_HEAD + i * GW_CLOCK_PIECE_BYTES);
	return GW_CLOCK_HISTORY_HEAD + history->count * (size_t)GW_CLOCK_PIECE_BYTES;
}

// Damaged rows must not lead to sums that overflow, nor to a search that goes astray.
static bool
load_piece(const uint8_t *at, int64_t after_us, struct gw_clock_piece *piece)
{
	*piece = (struct gw_clock_piece){ (int64_t)gw_get64(at + PIECE_FROM), (int64_t)gw_get64(at + PIECE_TO),
		{ (int64_t)gw_get64(at + PIECE_OFFSET), (int64_t)gw_get64(at + PIECE_OFFSET_TO) }, (int64_t)gw_get64(at + PIECE_SPREAD), gw_get32(at + PIECE_EPOCH),
		at[PIECE_LOOSE] != 0 };
	for (size_t i = 0; i < 2; i++)
		if (piece->offset_us[i] > 2 * GW_CLOCK_LIMIT_US || piece->offset_us[i] < -2 * GW_CLOCK_LIMIT_US)
			return false;
	return piece->from_us > after_us && piece->to_us >= piece->from_us && piece->to_us <= GW_CLOCK_LIMIT_US && piece->spread_us >= 0 &&
	    piece->spread_us <= GW_CLOCK_LIMIT_US && at[PIECE_LOOSE] <= 1;
}

static enum gw_error
load(struct gw_span bytes, struct gw_clock_history *history, uint64_t *incarnation)
{
	int64_t after_us = -GW_CLOCK_LIMIT_US - 1;
	struct gw_clock_shown shown;
	enum gw_error error;

	if (bytes.len > 0 && bytes.at[HEAD_VERSION] > 1)
		return GW_E_VERSION;
	if (bytes.len < GW_CLOCK_HISTORY_HEAD || bytes.at[HEAD_VERSION] != 1)
		return GW_E_CORRUPT;
	history->count = gw_get16(bytes.at + HEAD_COUNT);
	if (history->count > GW_CLOCK_PIECES_MAX || bytes.len != GW_CLOCK_HISTORY_HEAD + history->count * (size_t)GW_CLOCK_PIECE_BYTES)
		return GW_E_CORRUPT;
	history->open = bytes.at[HEAD_FLAGS] & FLAG_OPEN;
	history->gaps = bytes.at[HEAD_FLAGS] & FLAG_GAPS;
	*incarnation = gw_get64(bytes.at + HEAD_INCARNATION);
	history->upto = gw_get64(bytes.at + HEAD_UPTO);
	history->most_us = limited((int64_t)gw_get64(bytes.at + HEAD_MOST));
	history->barrier_us = limited((int64_t)gw_get64(bytes.at + HEAD_BARRIER));
	history->base_us = limited((int64_t)gw_get64(bytes.at + HEAD_BASE));
	history->live_us = limited((int64_t)gw_get64(bytes.at + HEAD_LIVE));
	for (size_t i = 0; i < history->count; i++, after_us = history->pieces[i - 1].to_us)
		if (!load_piece(bytes.at + GW_CLOCK_HISTORY_HEAD + i * GW_CLOCK_PIECE_BYTES, after_us, &history->pieces[i]))
			return GW_E_CORRUPT;
	if ((error = gw_device_clock_load(gw_span(bytes.at + HEAD_CLOCK, GW_DEVICE_CLOCK_BYTES), &history->clock)) != GW_OK)
		return error;
	gw_device_clock_shown(&history->clock, &shown);
	history->now_us = shown.received_us;
	return GW_OK;
}

enum gw_error
gw_clock_history_load(struct gw_span bytes, struct gw_clock_history *history, uint64_t *incarnation)
{
	enum gw_error error;

	*history = (struct gw_clock_history){ 0 };
	*incarnation = 0;
	if ((error = load(bytes, history, incarnation)) != GW_OK)
		*history = (struct gw_clock_history){ 0 };
	return error;
}
