// SPDX-License-Identifier: Apache-2.0
// The table of errors, and words for people. Any thread.
#include "gateway/error.h"

#include <stdarg.h>
#include <stdio.h>

struct row {
	const char *name;
	enum gw_verdict verdict;
	const char *text;
};

#define ROW(symbol, verdict, text) { #symbol, verdict, text },
static const struct row rows[] = { GW_ERRORS(ROW) };
#undef ROW

static const struct row *
row_of(enum gw_error error)
{
	static const struct row unknown = { "GW_E_UNKNOWN", GW_VERDICT_OPERATOR, "unknown error" };
	return (unsigned)error < GW_ERROR_COUNT ? &rows[error] : &unknown;
}

const char *
gw_error_text(enum gw_error error)
{
	return row_of(error)->text;
}

const char *
gw_error_name(enum gw_error error)
{
	return row_of(error)->name;
}

enum gw_verdict
gw_error_verdict(enum gw_error error)
{
	return row_of(error)->verdict;
}

enum gw_error
gw_fail(struct gw_why *why, enum gw_error error, const char *format, ...)
{
	va_list args;

	if (why == NULL)
		return error;
	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return error;
}
