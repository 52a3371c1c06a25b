. /tmp/env.sh; cd /tmp/g6
python prof_prep.py turn /tmp/w4/G/geo/turning 4 > pt.log 2>&1
python prof_prep.py rep /tmp/g6/rep 99 > prp.log 2>&1
