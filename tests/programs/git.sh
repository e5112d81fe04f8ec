# git: init, add, commit, branch, merge, log, diff, clone of a local repository, gc.
# usk-test: limit=120
set -e
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_NOSYSTEM=1
git init -q -b main repository && cd repository
for i in $(seq 50); do echo "content $i" > "file$i"; done
git add . && git commit -q -m "First" && git log --format='%H %s'
echo more >> file1 && git rm -q file2 && git mv file3 moved && git status --short
git diff --stat | cat
git commit -q -a -m "Second" && git checkout -q -b branch HEAD~1 && echo b > b && git add b && git commit -q -m "On the branch"
git checkout -q main && git merge -q -m "Merge" branch && git log --oneline --graph | cat
git tag v1 && git describe && git show --stat --format=%s HEAD~1 | cat
git gc -q && git fsck && git count-objects -v | grep packs
cd .. && git clone -q repository clone && cd clone && git log --oneline | wc -l && ls | wc -l
echo change > file5 && git stash -q && git stash list | wc -l && git stash pop -q && git diff --name-only
git commit -q -a -m "In the clone" && cd ../repository && git pull -q ../clone main && git log -1 --format=%s
git blame -s file1 | cut -d' ' -f2- | head -2; git grep -c 'content 4' | head -3; git bundle create -q ../b.bundle main && git bundle verify -q ../b.bundle && echo bundled
git clone -q --no-hardlinks --depth 1 "file://$PWD" ../shallow && git -C ../shallow log --oneline | wc -l
git checkout -q missing 2>/dev/null || echo "checkout says $?"
