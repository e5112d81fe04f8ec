# Two processes that write to one sqlite3 database at the same time, and a third that looks on.
sqlite3 d.db 'create table lines (writer integer, line integer, unique (writer, line))'
write_lines() {
    for line in $(seq 150); do echo "insert into lines values ($1, $line);"; done | sqlite3 -cmd '.timeout 30000' d.db
}
write_lines 1 &
write_lines 2 &
for round in $(seq 5); do
    sqlite3 -cmd '.timeout 30000' d.db 'pragma integrity_check'
done
wait
sqlite3 d.db 'select writer, count(*), sum(line) from lines group by writer; pragma integrity_check'
sqlite3 d.db 'delete from lines where line % 2; vacuum; pragma integrity_check; select count(*) from lines'
