/* The report: text for people, JSON for programs, malloc_info's XML; each from one snapshot. */
#ifndef UM_REPORT_H
#define UM_REPORT_H

#include "base/text.h"
#include "conf/stats.h"

UM_HIDDEN void um_report_text(um_text *t, const um_snapshot *s);
UM_HIDDEN void um_report_json(um_text *t, const um_snapshot *s);
/* The document of malloc_info(3). */
UM_HIDDEN void um_report_xml(um_text *t, const um_snapshot *s);

#endif
