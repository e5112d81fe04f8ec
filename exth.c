#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/syscall.h>
#include <errno.h>
#include <fcntl.h>
static char*self; static char arg[16];
static void*sl(void*a){ switch((long)a%6){case 0: for(;;)pause(); case 1: for(;;); case 2:{int p[2];pipe(p);char c;read(p[0],&c,1);} case 3: if(!vfork()){usleep(20000);_exit(0);} case 4: for(;;) getppid(); case 5: for(;;){pthread_t t;void*n(void*);pthread_create(&t,0,(void*(*)(void*))getppid,0);pthread_detach(t);} } return 0;}
static void*ex(void*a){ usleep(1000); execl(self,self,arg,NULL); perror("exec"); exit(9);}
static void*ex2(void*a){ execl(self,self,arg,NULL); perror("exec2"); exit(9);}
int main(int c,char**v){ self=v[0]; int n=atoi(v[1]); if(n<=0){ printf("done pid==tid %d threads\n",getpid()==syscall(SYS_gettid)); system("ls /proc/self/task | wc -l"); return 7;} sprintf(arg,"%d",n-1);
 pthread_t t; for(long i=0;i<8;i++)pthread_create(&t,0,sl,(void*)(i+n)); for(int i=0;i<3;i++) pthread_create(&t,0,ex,0); 
 if(n%3==0) pthread_exit(0); if(n%3==1) ex2(0); for(;;)pause(); }
