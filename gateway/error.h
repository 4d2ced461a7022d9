// SPDX-License-Identifier: Apache-2.0
// Every way in which something can fail, from one table: name, verdict, text. Each adapter has one table of its own
// from these to its protocol's answers; nothing else turns an error into an answer.
#ifndef GW_ERROR_H
#define GW_ERROR_H

#include <stddef.h>

// Who acts on an error: nobody, the sender (it sent something wrong: do not send it again), the sender later (it is
// right, we cannot take it now: send again), or an operator.
enum gw_verdict { GW_VERDICT_OK, GW_VERDICT_REJECT, GW_VERDICT_RETRY, GW_VERDICT_OPERATOR };

// X(symbol, verdict, text)
#define GW_ERRORS(X) \
	X(GW_OK, GW_VERDICT_OK, "ok") \
	/* the sender is wrong */ \
	X(GW_E_FORMAT, GW_VERDICT_REJECT, "payload cannot be decoded") \
	X(GW_E_ROUTE, GW_VERDICT_REJECT, "no profile knows this topic or path") \
	X(GW_E_CONTENT_FORMAT, GW_VERDICT_REJECT, "content format is not one that the profile takes") \
	X(GW_E_FIELD, GW_VERDICT_REJECT, "a field cannot be understood") \
	X(GW_E_EMPTY, GW_VERDICT_REJECT, "no reading in the frame") \
	X(GW_E_TOO_LARGE, GW_VERDICT_REJECT, "larger than the limit") \
	X(GW_E_FORBIDDEN, GW_VERDICT_REJECT, "the principal may not speak for this device") \
	X(GW_E_DISABLED, GW_VERDICT_REJECT, "the device is disabled") \
	X(GW_E_UNAUTHENTICATED, GW_VERDICT_REJECT, "no valid credential") \
	X(GW_E_PROTOCOL, GW_VERDICT_REJECT, "the protocol was violated") \
	X(GW_E_QUOTA, GW_VERDICT_REJECT, "a quota of the sender is used up") \
	X(GW_E_ARGUMENT, GW_VERDICT_REJECT, "an argument is wrong") \
	X(GW_E_EXISTS, GW_VERDICT_REJECT, "it exists already") \
	X(GW_E_NOT_FOUND, GW_VERDICT_REJECT, "it does not exist") \
	/* the sender is right, later */ \
	X(GW_E_BUSY, GW_VERDICT_RETRY, "a queue is full for a moment") \
	X(GW_E_FULL, GW_VERDICT_RETRY, "the store is at its budget") \
	X(GW_E_STOPPING, GW_VERDICT_RETRY, "the gateway is stopping") \
	X(GW_E_TIMEOUT, GW_VERDICT_RETRY, "no answer in time") \
	X(GW_E_CLOSED, GW_VERDICT_RETRY, "the connection is closed") \
	/* somebody has to look */ \
	X(GW_E_SYNC, GW_VERDICT_OPERATOR, "the store could not be written or synced") \
	X(GW_E_CORRUPT, GW_VERDICT_OPERATOR, "stored data is damaged") \
	X(GW_E_VERSION, GW_VERDICT_OPERATOR, "stored data is of a newer version") \
	X(GW_E_CONFIG, GW_VERDICT_OPERATOR, "the configuration is wrong") \
	X(GW_E_SYSTEM, GW_VERDICT_OPERATOR, "a system call failed") \
	X(GW_E_MEMORY, GW_VERDICT_OPERATOR, "out of memory")

#define GW_ERROR_ENUM(symbol, verdict, text) symbol,
enum [[nodiscard]] gw_error { GW_ERRORS(GW_ERROR_ENUM) GW_ERROR_COUNT };
#undef GW_ERROR_ENUM

// Stable text of an error and its symbol ("GW_E_FULL"); never NULL, also for numbers that are no error.
const char *gw_error_text(enum gw_error error);
const char *gw_error_name(enum gw_error error);
enum gw_verdict gw_error_verdict(enum gw_error error);

// Words for people about one failure. The caller owns it; functions that take one accept NULL. Always terminated.
struct gw_why {
	char text[192];
};

// Sets the words (printf format, truncated to fit) and returns error, so that failing is one line.
enum gw_error gw_fail(struct gw_why *why, enum gw_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
