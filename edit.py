import re
s=open('command_query.c').read()
# pieces to move
def cut(start,end):
    global s
    i=s.index(start); j=s.index(end,i)
    t=s[i:j]; s=s[:i]+s[j:]
    return t
store=cut("// ---- The store ----","static void\nend(struct work *work)")
note=cut("// For whoever looks on; left_out 0","static void\nfinish(struct work *work")
want=cut("// ---- What is asked for ----","// Durable before anything is shown.")
open('/tmp/h-export/store.txt','w').write(store+note+want)
s=s.replace("""static void
end(struct work *work)
{
	release(work);
	if (work->own)
		gw_series_close(work->store);
	free(work->piece.at);
}

""","")
s=s.replace("""	struct gw_series_store *store;
	bool own;             // opened here
	bool held;
	bool senml;
	struct piece piece;
	uint64_t incarnation;
	uint64_t upto;        // the journal's last position when it was asked
	int64_t waited_us;
	bool behind;          // the store did not get there
};
""","""	struct gw_held_series series;
	bool senml;
	struct piece piece;
	uint64_t incarnation;
};
""")
s=s.replace("""	work->upto = gw_journal_last(work->call->core->journal);
""","""	gw_held_series_init(&work->series, work->call);
""")
i=s.index("static void\nfinish(struct work *work"); j=s.index("// Durable before anything")
s=s[:i]+"""static void
finish(struct work *work, enum gw_error error)
{
	gw_held_series_fini(&work->series, error == GW_OK);
	free(work->piece.at);
}

// ---- query ----

"""+s[j:]
s=s.replace("take_want(call, &want)","gw_call_want(call, true, &want)")
s=s.replace("(error = hold(&work))","(error = gw_held_series_hold(&work.series))").replace("(error = hold(work))","(error = gw_held_series_hold(&work->series))")
s=s.replace("release(&work)","gw_held_series_release(&work.series)").replace("release(work)","gw_held_series_release(&work->series)")
s=s.replace("work.store","work.series.store").replace("work->store","work->series.store")
s=s.replace("		note(call,","		gw_call_note_aside(call,")
s=s.replace('#define FOLLOW_US 2000         // between looks whether the store has followed\n#define FOLLOW_US_MAX 10000000\n','')
s=s.replace('#include "gateway/command_patient.h"\n','#include "gateway/command_series.h"\n').replace('#include "gateway/series_outlet.h"\n#include "gateway/series_query.h"\n','').replace('#include <unistd.h>\n','')
open('command_query.c','w').write(s)
