# The sqlite3 command line.
sqlite3 d.db <<'EOF'
create table words (id integer primary key, word text unique, length integer);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into words (word, length) select 'word' || i, length('word' || i) from n;
select count(*), avg(length), max(word) from words;
create index by_length on words (length);
.mode csv
select length, count(*) from words group by length;
begin; delete from words where id % 2; rollback;
select count(*) from words;
pragma journal_mode = wal;
update words set length = 0 where id < 100;
pragma integrity_check;
.dump sqlite_sequence
EOF
sqlite3 d.db 'select sum(length) from words'
sqlite3 d.db '.backup copy.db' && sqlite3 copy.db 'select count(*) from words'
sqlite3 d.db 'insert into words (word) values ("word1")' 2>&1; echo "says $?"
sqlite3 /missing/d.db 'select 1 from x' 2>/dev/null; echo "says $?"
